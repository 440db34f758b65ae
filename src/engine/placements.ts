import type { LogDocument } from '../store/documents.ts';
import type { EventPages, VersionRange } from '../store/event-pages.ts';
import { batchByKey } from './coalesce.ts';

/** Ranges in one read. */
const RANGES_PER_READ = 100;

/**
 * Finds the events of a commit in the log; undefined while one of them is not placed. Look-ups of one turn of the event
 * loop share a read.
 */
export function createPlacements(
  events: EventPages,
): (range: VersionRange) => Promise<readonly LogDocument[] | undefined> {
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
  return ({ stream, first, count }) => find(JSON.stringify([stream, first, count]));
}

function rangeOf(key: string): VersionRange {
  const [stream, first, count]: [string, number, number] = JSON.parse(key);
  return { stream, first, count };
}
