import { foldEvents } from '../define/decide.ts';
import type { AggregateModel } from '../define/model.ts';
import type { CommitStore } from '../store/commits.ts';
import type { CommitDocument } from '../store/documents.ts';
import type { AggregateCache, LoadedAggregate } from './aggregate-cache.ts';
import { decodedEvents } from './receipts.ts';
import type { RestoredState, Snapshots } from './snapshots.ts';

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
  const folding = new Folding(work, aggregate, stream, begin, 0);
  for await (const commit of work.commits.since(stream, 0)) folding.add(commit);
  return folding.end();
}

/** Undefined when there is no commit that ends where the snapshot does: it is of another history (a restored backup). */
async function foldAfter(
  work: Work,
  aggregate: AggregateModel,
  stream: string,
  { commitVersion, ...restored }: RestoredState,
): Promise<LoadedAggregate | undefined> {
  const folding = new Folding(work, aggregate, stream, restored, commitVersion);
  let isKnown = false;
  for await (const commit of work.commits.since(stream, commitVersion - 1)) {
    if (isKnown) folding.add(commit);
    else if (commit.version !== commitVersion || lastVersion(commit) !== restored.version) return undefined;
    isKnown = true;
  }
  return isKnown ? folding.end() : undefined;
}

const lastVersion = ({ version = 0, events }: CommitDocument): number => version + events.length - 1;

class Folding {
  readonly #work: Work;
  readonly #aggregate: AggregateModel;
  readonly #stream: string;
  readonly #from: number;
  #loaded: LoadedAggregate;
  #commitVersion: number;

  constructor(work: Work, aggregate: AggregateModel, stream: string, from: LoadedAggregate, commitVersion: number) {
    this.#work = work;
    this.#aggregate = aggregate;
    this.#stream = stream;
    this.#from = from.version;
    this.#loaded = from;
    this.#commitVersion = commitVersion;
  }

  add(commit: CommitDocument): void {
    this.#loaded = foldStored(this.#aggregate, this.#loaded, commit);
    this.#commitVersion = commit.version ?? this.#commitVersion;
  }

  /** What was folded is kept for the next cold load. */
  end(): LoadedAggregate {
    const { snapshots } = this.#work;
    snapshots?.offer(this.#aggregate, this.#stream, this.#from, this.#loaded, this.#commitVersion);
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
