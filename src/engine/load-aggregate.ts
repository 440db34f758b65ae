import type { AggregateModel } from '../define/model.ts';
import type { CommitStore } from '../store/commits.ts';
import type { AggregateCache, LoadedAggregate } from './aggregate-cache.ts';
import { foldStored } from './handle-command.ts';

/** Folds a stream from `commits` (majority), streaming, and offers the state to the cache. */
export async function loadAggregate(
  work: { readonly commits: CommitStore; readonly cache: AggregateCache },
  aggregate: AggregateModel,
  stream: string,
): Promise<LoadedAggregate> {
  let loaded: LoadedAggregate = { state: aggregate.initial(), version: 0, closed: false };
  for await (const commit of work.commits.since(stream, 0)) loaded = foldStored(aggregate, loaded, commit);
  work.cache.offer(stream, loaded);
  return loaded;
}
