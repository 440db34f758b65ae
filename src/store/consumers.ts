import type { Db } from 'mongodb';
import { type ConsumerModel, PARTITION_COUNT } from '../define/model.ts';
import { MillraceError } from '../errors.ts';
import { ignoreExisting } from './commits.ts';
import type { ConsumerDocument, PartitionDocument } from './documents.ts';
import { partitionId } from './partitions.ts';
import { ensureViewCollection } from './view-documents.ts';

/** `consumers`: what is fixed when a generation is created. */
export interface ConsumerStore {
  /**
   * Creates the generation with its partitions at position 0, and its view collection with indexes, unless they exist.
   * Idempotent; several processes may call it at once. Returns what is fixed.
   */
  ensure(consumer: ConsumerModel): Promise<ConsumerDocument>;
}

/** Creates the collections of delivery: they must exist before transactions write to them. */
export async function ensureConsumers(db: Db, existing: ReadonlySet<string>): Promise<void> {
  const missing = ['consumers', 'partitions', 'leases', 'instances', 'sequencers'].filter(
    (name) => !existing.has(name),
  );
  await Promise.all(missing.map((name) => db.createCollection(name).catch(ignoreExisting)));
}

export function createConsumerStore(db: Db, logId: string): ConsumerStore {
  const consumers = db.collection<ConsumerDocument>('consumers');
  const partitions = db.collection<PartitionDocument>('partitions');
  return {
    async ensure({ name, version, generation, projector }) {
      const _id = `${logId}/${name}/${generation}`;
      await ensureViewCollection(db, projector.into, generation);
      await consumers.updateOne(
        { _id },
        {
          $setOnInsert: { consumer: name, version, generation, partitionCount: PARTITION_COUNT, createdAt: new Date() },
        },
        { upsert: true },
      );
      const fixed = await consumers.findOne({ _id });
      if (fixed === null) throw new MillraceError('INTERNAL', `Consumer "${_id}" was removed while it was created.`);
      const operations = Array.from({ length: fixed.partitionCount }, (_, partition) => ({
        updateOne: {
          filter: { _id: partitionId(logId, { consumer: name, generation, partition }) },
          update: {
            $setOnInsert: { consumer: name, generation, partition, checkpoint: 0, revision: 0, updatedAt: new Date() },
          },
          upsert: true,
        },
      }));
      await partitions.bulkWrite(operations, { ordered: false });
      return fixed;
    },
  };
}
