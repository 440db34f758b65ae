import { MillraceError } from '../../errors.ts';
import type { Page, PageInput } from '../contract/runtime.ts';

export const PAGE_DEFAULT_COUNT = 50;
export const PAGE_MAX_COUNT = 1_000;

/** What a client asked for, checked. */
export interface PageRequest<Key> {
  readonly limit: number;
  /** From the end: `last`. */
  readonly turned: boolean;
  readonly after: Key | undefined;
  readonly before: Key | undefined;
}

/** Reads PageInput. Throws BAD_INPUT for sizes that are no sizes, and what `decode` throws for cursors. */
export function readPageInput<Key>(page: PageInput, decode: (cursor: string) => Key): PageRequest<Key> {
  const first = page.first ?? undefined;
  const last = page.last ?? undefined;
  if (first !== undefined && last !== undefined) {
    throw new MillraceError('BAD_INPUT', 'Ask for `first` or `last`, not for both.');
  }
  const turned = last !== undefined;
  return {
    limit: checkCount(turned ? 'last' : 'first', last ?? first ?? PAGE_DEFAULT_COUNT),
    turned,
    after: page.after == null ? undefined : decode(page.after),
    before: page.before == null ? undefined : decode(page.before),
  };
}

export function checkCount(name: string, count: unknown): number {
  if (typeof count === 'number' && Number.isInteger(count) && count >= 0 && count <= PAGE_MAX_COUNT) return count;
  throw new MillraceError(
    'BAD_INPUT',
    `\`${name}\` must be a whole number from 0 to ${PAGE_MAX_COUNT}, is ${String(count).slice(0, 40)}.`,
    {
      details: { maximum: PAGE_MAX_COUNT },
    },
  );
}

/** Reads at most `limit` items between two ends, from the far end when `turned`. Ends are exclusive unless `inclusive`. */
export type ReadItems<Key, Item> = (slice: {
  readonly after: Key | undefined;
  readonly before: Key | undefined;
  readonly inclusive: boolean;
  readonly turned: boolean;
  readonly limit: number;
}) => Promise<readonly Item[]>;

/**
 * A page by keyset. Whether there are more items in the direction of the page is exact, by reading one more; on the
 * other side it is exact too, by looking for one item at or beyond the cursor, beside the read.
 */
export async function readPage<Key, Item, Node>(
  request: PageRequest<Key>,
  read: ReadItems<Key, Item>,
  edgeOf: (item: Item) => { readonly cursor: string; readonly node: Node },
): Promise<Page<Node>> {
  const { limit, turned, after, before } = request;
  const [items, more] = await Promise.all([
    read({ after, before, inclusive: false, turned, limit: limit + 1 }),
    beyondCursors(request, read),
  ]);
  const kept = items.slice(0, limit);
  if (turned) kept.reverse();
  const edges = kept.map(edgeOf);
  const cut = items.length > limit;
  const [ahead, behind] = [cut || more.ahead, more.behind];
  return {
    edges,
    pageInfo: {
      hasNextPage: turned ? behind : ahead,
      hasPreviousPage: turned ? ahead : behind,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

/** Whether there are items at or beyond the cursors: behind where the page starts, ahead of where it must stop. */
async function beyondCursors<Key, Item>(
  { turned, after, before }: PageRequest<Key>,
  read: ReadItems<Key, Item>,
): Promise<{ readonly behind: boolean; readonly ahead: boolean }> {
  const exists = async (key: Key | undefined, side: 'upTo' | 'from'): Promise<boolean> => {
    if (key === undefined) return false;
    const ends = side === 'upTo' ? { after: undefined, before: key } : { after: key, before: undefined };
    // The item at the cursor itself counts, if it is still there.
    return (await read({ ...ends, inclusive: true, turned: side === 'upTo', limit: 1 })).length > 0;
  };
  const [earlier, later] = await Promise.all([exists(after, 'upTo'), exists(before, 'from')]);
  return turned ? { behind: later, ahead: earlier } : { behind: earlier, ahead: later };
}
