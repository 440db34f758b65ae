import { MillraceError } from '../../errors.ts';
import type { Page, ReadOptions, Runtime, ViewRecord } from '../contract/runtime.ts';
import { decodeListCursor, encodeListCursor } from '../views/cursor.ts';
import { PAGE_DEFAULT_COUNT, readPage, readPageInput } from '../views/page.ts';
import { checkFilter } from '../views/view-filter.ts';
import { checkDocumentId, toRecord, type ViewHandle } from '../views/view-handles.ts';
import type { Order } from '../views/view-plan.ts';
import { type ListKey, listKey } from '../views/view-scan.ts';
import { AT_LEAST_MAX_MS, type AtLeast } from '../views/wait-at-least.ts';

export type ListQuery = Parameters<Runtime['documents']>[1];
export type CountQuery = Parameters<Runtime['countDocuments']>[1];

/** A list is counted up to here: about 100 ms of MongoDB's time. */
export const COUNT_MAX = 100_000;

/** Reads of one view, after it has been waited for if a token asks for that. */
export interface ViewReads {
  document(view: ViewHandle, id: string, ready: Ready): Promise<ViewRecord | undefined>;
  documents(view: ViewHandle, query: Omit<ListQuery, keyof ReadOptions>, ready: Ready): Promise<Page<ViewRecord>>;
  /** Null for more than COUNT_MAX. */
  count(view: ViewHandle, query: Omit<CountQuery, keyof ReadOptions>, ready: Ready): Promise<number | null>;
}
/** Reads a view when it is as new as the reader asked for. */
export type Ready = <T>(view: ViewHandle, read: () => Promise<T>) => Promise<T>;

export function createViewReads(deps: { readonly logId: string }): ViewReads {
  return {
    async document(view, id, ready) {
      checkDocumentId(id);
      const found = await ready(view, () => view.read(id));
      return found === undefined || found._deleted !== undefined ? undefined : toRecord(found);
    },
    async documents(view, query, ready) {
      const plan = view.plan(checkFilter(query.filter), query.sort);
      const order = orderName(plan.order);
      const request = readPageInput<ListKey>(query, (cursor) =>
        decodeListCursor(cursor, deps.logId, view.build, order, plan.order.length),
      );
      return ready(view, () =>
        readPage(
          request,
          (slice) => view.readSlice(plan, slice),
          (document) => ({
            cursor: encodeListCursor(deps.logId, view.build, { order, key: listKey(plan.order, document) }),
            node: toRecord(document),
          }),
        ),
      );
    },
    async count(view, query, ready) {
      const plan = view.plan(checkFilter(query.filter), query.sort);
      const counted = await ready(view, () => view.count(plan, COUNT_MAX + 1));
      return counted > COUNT_MAX ? null : counted;
    },
  };
}

/** Cursors are good for any list with this order, also under another filter. */
const orderName = (order: Order): string =>
  order.map(({ field, direction }) => `${direction === 1 ? '+' : '-'}${field}`).join();

/** What ReadOptions ask for. One deadline for all views that the read touches. Throws BAD_INPUT. */
export function readiness(atLeast: AtLeast, options: ReadOptions | undefined, defaultTimeoutMs: number): Ready {
  const token = options?.atLeast ?? undefined;
  const timeoutMs = options?.timeoutMs ?? defaultTimeoutMs;
  if (!Number.isInteger(timeoutMs) || timeoutMs < 0 || timeoutMs > AT_LEAST_MAX_MS) {
    throw new MillraceError('BAD_INPUT', `\`timeoutMs\` must be a whole number from 0 to ${AT_LEAST_MAX_MS}.`);
  }
  const deadlineMs = Date.now() + timeoutMs;
  return async ({ progress }, read) => {
    if (token === undefined) return read();
    if (!atLeast.satisfied(progress, token)) await atLeast.wait(progress, token, deadlineMs, options?.signal);
    return atLeast.answer(progress, read(), deadlineMs);
  };
}

/** First page of a list, for queries. */
export async function listOf(
  reads: ViewReads,
  view: ViewHandle,
  query: { readonly filter: ListQuery['filter']; readonly sort: ListQuery['sort']; readonly limit: number | undefined },
  ready: Ready,
): Promise<readonly ViewRecord[]> {
  const { filter, sort, limit } = query;
  const page = await reads.documents(view, { filter, sort, first: limit ?? PAGE_DEFAULT_COUNT }, ready);
  return page.edges.map(({ node }) => node);
}
