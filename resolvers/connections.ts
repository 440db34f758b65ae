import type { OutputRef } from '@pothos/core';
import type { GatewayContext } from '../src/gateway/context.ts';
import { MillraceError, type Page, type PageInput } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { claim, once } from './registry.ts';

type Edge = { readonly cursor: string; readonly node: unknown };
type PageInfo = Page<unknown>['pageInfo'];

/** Arguments of a page as GraphQL gives them. */
export interface PageArguments {
  readonly first?: number | null | undefined;
  readonly after?: string | null | undefined;
  readonly last?: number | null | undefined;
  readonly before?: string | null | undefined;
}

/** Most that the lists of one operation may ask for together: the cost limit knows only numbers that the document holds. */
const OPERATION_MAX_COUNT = 10_000;
// As `first` and `last` below describe them.
const PAGE_MAX_COUNT = 1_000;
const PAGE_DEFAULT_COUNT = 50;
const asked = new WeakMap<GatewayContext, number>();

/** The page that a field asks for, counted for its operation. Throws QUERY_TOO_COMPLEX when that asks for too much. */
export function pageInput({ first, after, last, before }: PageArguments, context: GatewayContext): PageInput {
  // What no page can be is refused where it is read.
  const count = Math.min(Math.max(first ?? last ?? PAGE_DEFAULT_COUNT, 0), PAGE_MAX_COUNT);
  const total = (asked.get(context) ?? 0) + count;
  if (total > OPERATION_MAX_COUNT) {
    throw new MillraceError(
      'QUERY_TOO_COMPLEX',
      `The lists of one operation hold at most ${OPERATION_MAX_COUNT} nodes together. Ask for fewer with "first" or "last", or in several operations.`,
    );
  }
  asked.set(context, total);
  return { first, after, last, before };
}

/** Most counts of lists in one operation. */
const OPERATION_MAX_COUNTS = 10;
const counted = new WeakMap<GatewayContext, number>();

/** Notes that a field counts a list. Throws QUERY_TOO_COMPLEX when its operation counts too many. */
export function noteCount(context: GatewayContext): void {
  const total = (counted.get(context) ?? 0) + 1;
  if (total > OPERATION_MAX_COUNTS) {
    throw new MillraceError(
      'QUERY_TOO_COMPLEX',
      `One operation counts at most ${OPERATION_MAX_COUNTS} lists. Ask for fewer "totalCount", or in several operations.`,
    );
  }
  counted.set(context, total);
}

function pageInfoType(builder: MillraceBuilder) {
  claim(builder, 'type PageInfo', 'a type of the platform');
  return builder.objectRef<PageInfo>('PageInfo').implement({
    description: 'Where a page stands in its list (Relay Cursor Connections).',
    fields: (t) => ({
      hasNextPage: t.exposeBoolean('hasNextPage', { nullable: false }),
      hasPreviousPage: t.exposeBoolean('hasPreviousPage', { nullable: false }),
      startCursor: t.expose('startCursor', { type: 'Cursor', nullable: true }),
      endCursor: t.expose('endCursor', { type: 'Cursor', nullable: true }),
    }),
  });
}

/** A page of a list that can be counted. */
export interface ListPage extends Page<unknown> {
  readonly count?: () => Promise<number | null>;
}

/**
 * `<Name>Connection` and `<Name>Edge` of the Relay Cursor Connections specification, for a page of such nodes; with
 * `totalCount` where `counts`.
 */
export function connectionOf(
  builder: MillraceBuilder,
  name: string,
  node: OutputRef<unknown>,
  place: string,
  counts = false,
) {
  claim(builder, `type ${name}Edge`, place);
  claim(builder, `type ${name}Connection`, place);
  const pageInfo = once(builder, pageInfoType);
  const edge = builder.objectRef<Edge>(`${name}Edge`).implement({
    fields: (t) => ({
      cursor: t.expose('cursor', { type: 'Cursor', nullable: false }),
      node: t.field({ type: node, nullable: false, resolve: (parent) => parent.node }),
    }),
  });
  return builder.objectRef<ListPage>(`${name}Connection`).implement({
    fields: (t) => ({
      edges: t.field({ type: [edge], nullable: { list: false, items: false }, resolve: (page) => page.edges }),
      pageInfo: t.field({ type: pageInfo, nullable: false, resolve: (page) => page.pageInfo }),
      ...(counts && {
        totalCount: t.int({
          nullable: true,
          description:
            'How many documents the whole list has, whatever the page; null for more than 100,000. Counted only when asked for, by the index that serves the list, in time that grows with the number (100,000: some 100 ms). At most 10 in an operation.',
          resolve: (page, _args, context) => {
            noteCount(context);
            return page.count?.() ?? null;
          },
        }),
      }),
    }),
  });
}

/** `first`, `after`, `last`, `before` for a field. */
export const pageArguments = (builder: MillraceBuilder) =>
  builder.args((t) => ({
    first: t.int({ description: 'Page forward: so many, at most 1,000; default 50.' }),
    after: t.field({ type: 'Cursor' }),
    last: t.int({ description: 'Page backward: so many, at most 1,000.' }),
    before: t.field({ type: 'Cursor' }),
  }));
