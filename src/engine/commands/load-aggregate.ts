import { foldEvents } from '../../define/decide.ts';
import type { AggregateModel } from '../../define/model.ts';
import type { CommitStore } from '../../store/commits.ts';
import type { CommitDocument } from '../../store/documents.ts';
import type { AggregateCache, LoadedAggregate } from './aggregate-cache.ts';
import { decodedEvents } from './receipts.ts';
import type { RestoredState, SnapshotEnd, Snapshots } from './snapshots.ts';

interface Work {
  readonly commits: CommitStore;
  readonly cache: AggregateCache;
  readonly snapshots: Snapshots | undefined;
}

/**
 * Folds a stream from `commits` (majority), streaming, from its snapshot on where there is one that fits, and offers the state to
 * the cache.
 */
export async function loadAggregate(work: Work, aggregate: AggregateModel, stream: string): Promise<LoadedAggregate> {
  const restored = await work.snapshots?.find(aggregate, stream);
  const loaded =
    (restored && (await foldAfter(work, aggregate, stream, restored))) ?? (await foldFrom(work, aggregate, stream));
  work.cache.offer(stream, loaded);
  return loaded;
}

async function foldFrom(work: Work, aggregate: AggregateModel, stream: string): Promise<LoadedAggregate> {
  const begin = { state: aggregate.initial(), version: 0, closed: false };
  const folding = new Folding(work, aggregate, stream, begin, { id: '', version: 0 });
  for await (const commit of work.commits.since(stream, 0)) folding.add(commit);
  return folding.end();
}

/** Undefined when the commit that the snapshot ends with is not there: it is of another history (a restored backup). */
async function foldAfter(
  work: Work,
  aggregate: AggregateModel,
  stream: string,
  { commit: end, check, ...restored }: RestoredState,
): Promise<LoadedAggregate | undefined> {
  const folding = new Folding(work, aggregate, stream, restored, end);
  let isKnown = false;
  for await (const commit of work.commits.since(stream, end.version - 1)) {
    if (isKnown) folding.add(commit);
    else if (commit._id !== end.id) break;
    else isKnown = true;
  }
  if (isKnown) return folding.end();
  work.snapshots?.refuted(stream, check);
  return undefined;
}

class Folding {
  readonly #work: Work;
  readonly #aggregate: AggregateModel;
  readonly #stream: string;
  readonly #from: number;
  #loaded: LoadedAggregate;
  #last: SnapshotEnd;

  constructor(work: Work, aggregate: AggregateModel, stream: string, from: LoadedAggregate, end: SnapshotEnd) {
    this.#work = work;
    this.#aggregate = aggregate;
    this.#stream = stream;
    this.#from = from.version;
    this.#loaded = from;
    this.#last = end;
  }

  add(commit: CommitDocument): void {
    this.#loaded = foldStored(this.#aggregate, this.#loaded, commit);
    if (commit.version !== undefined) this.#last = { id: commit._id, version: commit.version };
  }

  /** What was folded is kept for the next cold load. */
  end(): LoadedAggregate {
    const { snapshots } = this.#work;
    snapshots?.offer(this.#aggregate, this.#stream, this.#from, this.#loaded, this.#last);
    return this.#loaded;
  }
}

/** The state after a stored commit. Throws UNKNOWN_EVENT. */
export function foldStored(
  aggregate: AggregateModel,
  loaded: LoadedAggregate,
  commit: CommitDocument,
): LoadedAggregate {
  return foldEvents(aggregate, loaded, decodedEvents(aggregate, commit));
}
