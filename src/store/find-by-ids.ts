import type { ClientSession, Db } from 'mongodb';

/** Looked up in one question. */
const IDS_PER_READ = 1_000;

/**
 * Documents of a clustered collection by their ids, in no order; ids without one are left out. Each is looked up by itself, joined
 * by the server: MongoDB 6.0 walks all of a clustered collection for `{ _id: { $in: […] } }`.
 */
export async function findByIds<T extends { readonly _id: string | number }>(
  db: Db,
  collection: string,
  ids: readonly T['_id'][],
  session?: ClientSession,
): Promise<T[]> {
  const found: T[] = [];
  for (let start = 0; start < ids.length; start += IDS_PER_READ) {
    const stages = [
      { $documents: ids.slice(start, start + IDS_PER_READ).map((id) => ({ id: { $literal: id } })) },
      { $lookup: { from: collection, localField: 'id', foreignField: '_id', as: 'found' } },
      { $unwind: '$found' },
      { $replaceRoot: { newRoot: '$found' } },
    ];
    // An object of its own: the driver writes the time of a causal read into it.
    const options = {
      batchSize: IDS_PER_READ,
      readConcern: { level: 'majority' },
      ...(session && { session }),
    } as const;
    found.push(...((await db.aggregate(stages, options).toArray()) as T[]));
  }
  return found;
}
