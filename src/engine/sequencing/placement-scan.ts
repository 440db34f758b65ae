import type { CommitFeed, CommitHead } from '../../store/commit-feed.ts';
import type { CommitDocument } from '../../store/documents.ts';
import { type EventRef, type LogStore, refKey } from '../../store/log.ts';

const COMMITS_PER_READ = 500;
/** So many newest commits in a row are in the log: what lies before them is too. */
export const PLACED_RUN_COUNT = 100_000;
const LOOK_AT_COMMITS = 50;

/** Of the newest commits those whose events are not all in the log, by their last event. */
export async function newestUnplaced(store: {
  readonly feed: Pick<CommitFeed, 'backward'>;
  readonly log: Pick<LogStore, 'placed'>;
}): Promise<readonly EventRef[]> {
  const refs = (await store.feed.backward(undefined, LOOK_AT_COMMITS)).map(lastEventOfHead);
  const placed = await store.log.placed(refs);
  return refs.filter((ref) => !placed.has(keyOf(ref)));
}

/**
 * Finds commits that are not in the log, for when the change stream cannot tell: backwards over the newest until a long run
 * is placed, then forward by time. Gateways' clocks may differ, so a run and not the first placed commit ends the search.
 * `millrace verify` does the full comparison.
 */
export async function* unplacedCommits(
  feed: Pick<CommitFeed, 'backward' | 'forward'>,
  log: Pick<LogStore, 'placed'>,
  options: { readonly runCount?: number; readonly signal: AbortSignal },
): AsyncGenerator<readonly CommitDocument[]> {
  const [newest] = await feed.backward(undefined, 1);
  let from = await oldestUnplaced(feed, log, options.runCount ?? PLACED_RUN_COUNT, options.signal);
  while (from !== undefined && !options.signal.aborted) {
    const commits: readonly CommitDocument[] = await feed.forward(from, COMMITS_PER_READ);
    const placed = await log.placed(commits.map(lastEventOf));
    yield commits.filter((commit) => !placed.has(keyOf(lastEventOf(commit))));
    const last = commits.at(-1);
    // `from` is read again with the next page and found placed. What came after the scan began, the change stream brings.
    from = last === undefined || last._id === from || last._id > (newest?._id ?? '') ? undefined : last._id;
  }
}

async function oldestUnplaced(
  feed: Pick<CommitFeed, 'backward'>,
  log: Pick<LogStore, 'placed'>,
  runCount: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  let before: string | undefined;
  let oldest: string | undefined;
  for (let run = 0; run < runCount && !signal.aborted; ) {
    const heads = await feed.backward(before, COMMITS_PER_READ);
    const refs = heads.map(lastEventOfHead);
    const placed = await log.placed(refs);
    for (const [index, head] of heads.entries()) {
      const ref = refs[index];
      if (ref !== undefined && placed.has(keyOf(ref))) run++;
      else {
        run = 0;
        oldest = head._id;
      }
    }
    before = heads.at(-1)?._id;
    if (before === undefined) break;
  }
  return oldest;
}

/** Events of a commit are placed in order: when its last one is in the log, all are. */
const lastEventOf = ({ stream, version = 0, events }: CommitDocument): EventRef => ({
  stream,
  version: version + events.length - 1,
});
const lastEventOfHead = ({ stream, version, eventCount }: CommitHead): EventRef => ({
  stream,
  version: version + eventCount - 1,
});
const keyOf = (ref: EventRef): string => refKey(ref.stream, ref.version);
