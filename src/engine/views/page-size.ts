import { roughBytes } from '../../store/rough-bytes.ts';

/**
 * What is read for one subscriber at a time may be large: as many a page as are about half a megabyte, but no fewer than
 * the first page has.
 */
export const PAGE_COUNT = 200;
export const FIRST_PAGE_COUNT = 20;
const PAGE_MAX_BYTES = 500_000;
const SAMPLE_COUNT = 5;

/** After a page like this. A few are measured: this is done for every page of every subscriber. */
export function nextPageCount<One>(
  page: readonly One[],
  before: number,
  contentOf: (one: One | undefined) => unknown = (one) => one,
): number {
  if (page.length < FIRST_PAGE_COUNT) return before;
  const some = Array.from({ length: SAMPLE_COUNT }, (_, i) => page[Math.floor((i * page.length) / SAMPLE_COUNT)]);
  const bytes = some.reduce((sum, one) => sum + roughBytes(contentOf(one)), 0) / SAMPLE_COUNT;
  return Math.round(Math.min(PAGE_COUNT, Math.max(FIRST_PAGE_COUNT, PAGE_MAX_BYTES / bytes)));
}
