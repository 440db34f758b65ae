import { MillraceError } from '../../errors.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { EventPages, VersionRange } from '../../store/event-pages.ts';
import { batchByKey } from '../concurrency/coalesce.ts';

/** Ranges in one read. */
const RANGES_PER_READ = 100;

/** What a token says of a commit. */
export interface CommitRange extends VersionRange {
  readonly commandId: string;
}

/**
 * Finds the events of a commit in the log; undefined while one of them is not placed. Throws BAD_TOKEN when they belong
 * to another command. Look-ups of one turn of the event loop share a read.
 */
export function createPlacements(
  events: EventPages,
): (range: CommitRange) => Promise<readonly LogDocument[] | undefined> {
  const find = batchByKey<string, readonly LogDocument[]>(async (keys) => {
    const ranges = keys.map((key) => ({ key, range: rangeOf(key) }));
    const reads: Promise<readonly LogDocument[]>[] = [];
    for (let start = 0; start < ranges.length; start += RANGES_PER_READ) {
      reads.push(events.byVersions(ranges.slice(start, start + RANGES_PER_READ).map(({ range }) => range)));
    }
    const byStream = new Map<string, LogDocument[]>(ranges.map(({ range }) => [range.stream, []]));
    for (const event of (await Promise.all(reads)).flat()) byStream.get(event.stream)?.push(event);
    const complete = new Map<string, readonly LogDocument[]>();
    for (const { key, range } of ranges) {
      const { stream, first, count } = range;
      const all = byStream.get(stream) ?? [];
      const own = new Map(
        all.filter(({ version }) => version >= first && version < first + count).map((one) => [one.version, one]),
      );
      if (own.size === count) complete.set(key, [...own.values()]);
    }
    return complete;
  });
  const read = (stream: string, first: number, count: number) => find(JSON.stringify([stream, first, count]));
  return async ({ stream, first, count, commandId }) => {
    // Both ends before all: anybody can name a range, and only a commit of this command is worth reading whole.
    const [begin, end] = await Promise.all([read(stream, first, 1), read(stream, first + count - 1, 1)]);
    if ([...(begin ?? []), ...(end ?? [])].some((event) => event.commandId !== commandId)) {
      throw new MillraceError(
        'BAD_TOKEN',
        'This token names events of another command. Pass the `token` of the receipt as it came.',
      );
    }
    if (begin === undefined || end === undefined) return undefined;
    if (count > 2) return read(stream, first, count);
    return count === 1 ? begin : [...begin, ...end];
  };
}

function rangeOf(key: string): VersionRange {
  const [stream, first, count]: [string, number, number] = JSON.parse(key);
  return { stream, first, count };
}
