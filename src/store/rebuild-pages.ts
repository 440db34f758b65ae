import type { ClientSession, Db, MongoClient } from 'mongodb';
import type { ConsumerDocument, PartitionDocument, ViewDocument } from './documents.ts';
import { askedAgain } from './in-time.ts';
import { consumerId, type GenerationRef } from './partitions.ts';
import { viewCollectionName } from './view-documents.ts';

/** One generation of a view, as a comparison reads it. */
export interface BuildRef extends GenerationRef {
  readonly view: string;
}
/** What one generation has of a run of ids, tombstones among them, and how far each of its partitions was then. */
export interface BuildPage {
  readonly documents: readonly ViewDocument[];
  /** By partition. */
  readonly checkpoints: readonly number[];
}
export interface RebuildPage {
  readonly older: BuildPage;
  readonly newer: BuildPage;
  /** The last id of the run; null: it goes to the end. */
  readonly last: string | null;
}

/** Two generations of a view side by side. */
export interface RebuildPages {
  /**
   * Documents with the ids after `after`, in order of id, at most `limit` of each generation: all as they were at one moment, with
   * how far both were then.
   */
  page(older: BuildRef, newer: BuildRef, after: string | null, limit: number): Promise<RebuildPage>;
  /** Documents of a generation, by estimate; tombstones count. */
  estimate(build: BuildRef): Promise<number>;
}

const READ_MAX_MS = 30_000;

export function createRebuildPages(client: MongoClient, db: Db, logId: string): RebuildPages {
  const collectionOf = ({ view, generation }: BuildRef) =>
    db.collection<ViewDocument>(viewCollectionName({ view, generation }));
  const checkpoints = async (ref: GenerationRef, session: ClientSession): Promise<readonly number[]> => {
    const id = consumerId(logId, ref);
    const consumers = db.collection<ConsumerDocument>('consumers');
    const count = (await consumers.findOne({ _id: id }, { session }))?.partitionCount ?? 0;
    const found: number[] = Array(count).fill(0);
    const own = { _id: { $gte: `${id}/`, $lt: `${id}0` } };
    const partitions = db.collection<PartitionDocument>('partitions').find(own, { session });
    for await (const { partition, checkpoint } of partitions) found[partition] = checkpoint;
    return found;
  };
  const documents = (build: BuildRef, after: string | null, limit: number, session: ClientSession) => {
    const filter = after === null ? {} : { _id: { $gt: after } };
    return collectionOf(build)
      .find(filter, { session, sort: { _id: 1 }, limit, batchSize: limit })
      .toArray();
  };
  const readPage: RebuildPages['page'] = async (older, newer, after, limit) => {
    const session = client.startSession();
    try {
      // It holds the moment, also where the server keeps no history, and locks nobody out.
      session.startTransaction({ readConcern: { level: 'snapshot' } });
      const one = await documents(older, after, limit, session);
      const other = await documents(newer, after, limit, session);
      // A full one says nothing of what follows its last.
      const ends = [one, other].flatMap((some) => (some.length < limit ? [] : (some.at(-1)?._id ?? [])));
      const last = ends.sort(compareIds)[0] ?? null;
      const upTo = (some: readonly ViewDocument[]) =>
        last === null ? some : some.filter(({ _id }) => compareIds(_id, last) <= 0);
      return {
        older: { documents: upTo(one), checkpoints: await checkpoints(older, session) },
        newer: { documents: upTo(other), checkpoints: await checkpoints(newer, session) },
        last,
      };
    } finally {
      await session.abortTransaction().catch(() => undefined);
      await session.endSession();
    }
  };
  return {
    page: (older, newer, after, limit) =>
      askedAgain(() => readPage(older, newer, after, limit), READ_MAX_MS, 'two generations of a view'),
    estimate: (build) =>
      askedAgain(() => collectionOf(build).estimatedDocumentCount(), READ_MAX_MS, 'a count of documents'),
  };
}

/** As MongoDB sorts them: by their bytes, which is not how JavaScript compares strings. */
const compareIds = (one: string, other: string): number => Buffer.compare(Buffer.from(one), Buffer.from(other));
