import type { Collection, Db, Document } from 'mongodb';
import { MillraceError } from '../errors.ts';
import { parkedEventId } from './dead-letters.ts';
import type {
  DeadLetterDocument,
  ParkedEventDocument,
  PartitionDocument,
  SagaKeyDocument,
  TimerDocument,
} from './documents.ts';
import { askedAgain, inParts, inTime } from './in-time.ts';
import { consumerId, type GenerationRef, partitionId } from './partitions.ts';

/** What a reset does to the effects of one partition. */
export interface PartitionReset {
  readonly ref: GenerationRef & { readonly partition: number };
  readonly position: number;
  /** Collection of documents: turned into tombstones (views), removed (instances of sagas), or kept. */
  readonly documents: { readonly collection: string; readonly how: 'bury' | 'remove' } | undefined;
  /** Remove the dead letters, all or those that failed after `position`. */
  readonly deadLetters: 'all' | 'later' | 'none';
  /** Events after this come again: those that wait behind a dead letter that is kept wait there once they have come. */
  readonly againAfter: number;
}
export interface PartitionResetEnd {
  readonly partition: number;
  readonly checkpoint: number;
  readonly revision: number;
  readonly blockedCount: number;
}

const LETTERS_PER_TURN = 200;
const READ_MAX_MS = 30_000;
const WRITE_MAX_MS = 20_000;
const asked = <T>(read: () => Promise<T>): Promise<T> => askedAgain(read, READ_MAX_MS, 'a read for a reset');

/**
 * The partition is fenced: nobody else writes it. Effects first, under a revision that nobody is told of, and the partition
 * takes the one after it: whoever hears of that one finds a hole before it, and reads what changed.
 */
export async function resetPartition(db: Db, logId: string, reset: PartitionReset): Promise<PartitionResetEnd> {
  const { ref, position, documents, deadLetters, againAfter } = reset;
  const partitions = db.collection<PartitionDocument>('partitions');
  const _id = partitionId(logId, ref);
  for (;;) {
    const found = await asked(() => partitions.findOne({ _id }));
    if (found === null) return { partition: ref.partition, checkpoint: position, revision: 0, blockedCount: 0 };
    if (found.paused !== true) throw resumed(ref);
    const untold = found.revision + 1;
    const revision = untold + 1;
    if (documents?.how === 'bury') await bury(db.collection(documents.collection), ref.partition, untold, position);
    if (documents?.how === 'remove') await remove(db.collection(documents.collection), ref.partition, untold);
    const { consumer, generation, partition } = ref;
    const of = { logId, consumer, generation, partition };
    if (deadLetters !== 'none') {
      await removeLetters(db, deadLetters === 'all' ? of : { ...of, position: { $gt: position } });
    }
    await unparkAfter(db, of, againAfter);
    const blockedCount = await asked(() => db.collection('dead_letters').countDocuments(of));
    const moving = partitions.updateOne(
      { _id, revision: found.revision, paused: true },
      {
        $set: { checkpoint: position, revision, ...(blockedCount > 0 && { blockedCount }) },
        $unset: { failure: '', ...(blockedCount === 0 && { blockedCount: '' }) },
        $currentDate: { updatedAt: true },
      },
      { timeoutMS: WRITE_MAX_MS },
    );
    const { matchedCount } = await inTime(moving, WRITE_MAX_MS, 'the reset of a partition');
    if (matchedCount === 0) continue;
    await asked(() => db.collection<{ _id: string }>('partition_marks').deleteOne({ _id }));
    return { partition, checkpoint: position, revision, blockedCount };
  }
}

/** Whoever was away for long must not bury what others wrote meanwhile. */
const resumed = ({ consumer, partition }: PartitionReset['ref']): MillraceError =>
  new MillraceError(
    'FENCED',
    `Partition ${partition} of consumer "${consumer}" is not paused any more: somebody else ended this reset. Look at the consumer, and reset it again if need be.`,
  );

/** Documents become tombstones whose version goes on: whoever watches them learns that they are gone, and of what comes then. */
async function bury(documents: Collection, partition: number, revision: number, position: number): Promise<void> {
  const tombstone = {
    _id: '$_id',
    _partition: '$_partition',
    _revision: revision,
    _position: position,
    _version: { $add: ['$_version', 1] },
    _origins: [],
    _deleted: '$$NOW',
  };
  const older = { _partition: partition, _revision: { $lt: revision }, _deleted: { $exists: false } };
  await inParts((limits) => documents.updateMany(older, [{ $replaceWith: tombstone }], limits), 'a reset of a view');
}

async function remove(documents: Collection, partition: number, revision: number): Promise<void> {
  const older = { _partition: partition, _revision: { $lt: revision } };
  await inParts((limits) => documents.deleteMany(older, limits), 'a reset of a saga');
}

/** Takes later events from behind dead letters: each would be counted twice when it comes again. */
async function unparkAfter(
  db: Db,
  of: GenerationRef & { readonly partition: number },
  position: number,
): Promise<void> {
  const letters = db.collection<DeadLetterDocument>('dead_letters');
  const parked = db.collection<ParkedEventDocument>('parked_events');
  for (let after = ''; ; ) {
    const some = { projection: { _id: 1 }, sort: { _id: 1 }, limit: LETTERS_PER_TURN } as const;
    const match = { ...of, _id: { $gt: after }, parkedCount: { $gt: 0 } };
    const ids = (await asked(() => letters.find(match, some).toArray())).map(({ _id }) => _id);
    const last = ids.at(-1);
    if (last === undefined) return;
    const later = ids.map((id) => ({ _id: { $gt: parkedEventId(id, position), $lt: `${id}0` } }));
    await inParts((limits) => parked.deleteMany({ $or: later }, limits), 'a removal of parked events');
    const counting = [{ $match: { $or: ids.map(startsWith) } }, { $group: { _id: '$deadLetter', count: { $sum: 1 } } }];
    const counts = await asked(() => parked.aggregate<{ _id: string; count: number }>(counting).toArray());
    const countOf = new Map(counts.map(({ _id, count }) => [_id, count]));
    const updates = ids.map((_id) => ({
      updateOne: { filter: { _id }, update: { $set: { parkedCount: countOf.get(_id) ?? 0 } } },
    }));
    await inParts((limits) => letters.bulkWrite(updates, limits), 'a count of parked events');
    after = last;
  }
}

export async function removeOfInstances(db: Db, logId: string, ref: GenerationRef): Promise<void> {
  const { consumer, generation } = ref;
  const timers = db.collection<TimerDocument>('timers');
  await inParts((limits) => timers.deleteMany({ logId, consumer, generation }, limits), 'a removal of timers');
  const keys = db.collection<SagaKeyDocument>('saga_keys');
  const own = startsWith(consumerId(logId, ref));
  await inParts((limits) => keys.deleteMany(own, limits), 'a removal of correlation keys');
}

export async function removeLetters(db: Db, match: Document): Promise<void> {
  const letters = db.collection<DeadLetterDocument>('dead_letters');
  const parked = db.collection<ParkedEventDocument>('parked_events');
  for (;;) {
    const some = { projection: { _id: 1 }, limit: LETTERS_PER_TURN } as const;
    const ids = (await asked(() => letters.find(match, some).toArray())).map(({ _id }) => _id);
    if (ids.length === 0) return;
    const behind = { $or: ids.map(startsWith) };
    await inParts((limits) => parked.deleteMany(behind, limits), 'a removal of parked events');
    await inParts((limits) => letters.deleteMany({ _id: { $in: ids } }, limits), 'a removal of dead letters');
  }
}

/** "0" is the character after "/": the range holds exactly the ids that begin with this and "/". */
const startsWith = (id: string) => ({ _id: { $gte: `${id}/`, $lt: `${id}0` } });
