import type { OutputRef } from '@pothos/core';
import type { Page, PageInput } from '../src/index.ts';
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
export const pageInput = ({ first, after, last, before }: PageArguments): PageInput => ({ first, after, last, before });

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

/** `<Name>Connection` and `<Name>Edge` of the Relay Cursor Connections specification, for a page of such nodes. */
export function connectionOf(builder: MillraceBuilder, name: string, node: OutputRef<unknown>, place: string) {
  claim(builder, `type ${name}Edge`, place);
  claim(builder, `type ${name}Connection`, place);
  const pageInfo = once(builder, pageInfoType);
  const edge = builder.objectRef<Edge>(`${name}Edge`).implement({
    fields: (t) => ({
      cursor: t.expose('cursor', { type: 'Cursor', nullable: false }),
      node: t.field({ type: node, nullable: false, resolve: (parent) => parent.node }),
    }),
  });
  return builder.objectRef<Page<unknown>>(`${name}Connection`).implement({
    fields: (t) => ({
      edges: t.field({ type: [edge], nullable: { list: false, items: false }, resolve: (page) => page.edges }),
      pageInfo: t.field({ type: pageInfo, nullable: false, resolve: (page) => page.pageInfo }),
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
