import type { Collection, Db } from 'mongodb';
import type { ConsumerModel } from '../define/model.ts';
import type { StartFrom } from '../define/start-from.ts';
import { MillraceError } from '../errors.ts';
import { ignoreExisting } from './commits.ts';
import type { BreakerRecord, ConsumerDocument, LogDocument, PartitionDocument } from './documents.ts';
import { askedAgain, inTime } from './in-time.ts';
import { ensureCrashes } from './instances.ts';
import { consumerId, type GenerationRef, partitionId } from './partitions.ts';
import { ensureSagaCollection } from './sagas.ts';
import { ensureServed } from './served-views.ts';
import { ensureViewCollection } from './view-indexes.ts';

/** `consumers`: what is fixed when a generation is created. */
export interface ConsumerStore {
  /**
   * Creates the generation with its partitions where it starts, and its view collection with indexes, unless they exist. One that
   * was retired and comes back begins as if it were new: what it did is forgotten, and it must not do it all again.
   * Idempotent; several processes may call it at once. Returns what is fixed. Throws DEFINITION_INVALID when another projector
   * keeps the view; CONSUMER_NOT_RUNNING while what it left when it was retired is still being removed.
   */
  ensure(consumer: ConsumerModel): Promise<ConsumerDocument>;
  /** Observers: the position up to which events were handled before a reset; undefined: none. */
  replayUntil(ref: GenerationRef): Promise<number | undefined>;
  /** Observers: the state of the breaker in one process; undefined: closed. */
  tellBreaker(ref: GenerationRef, instanceId: string, record: BreakerRecord | undefined): Promise<void>;
}

/** Creates the collections of delivery: they must exist before transactions write to them. */
export async function ensureConsumers(db: Db, existing: ReadonlySet<string>): Promise<void> {
  const missing = ['consumers', 'partitions', 'leases', 'instances', 'sequencers'].filter(
    (name) => !existing.has(name),
  );
  await Promise.all(missing.map((name) => db.createCollection(name).catch(ignoreExisting)));
  // Each code has a lease of its own.
  const expiry = { name: 'expiry', expireAfterSeconds: LEASE_KEPT_S };
  await Promise.all([ensureCrashes(db), db.collection('leases').createIndex({ expiresAt: 1 }, expiry)]);
}

/** After it ran out: long enough to tell that nobody places commits. */
const LEASE_KEPT_S = 86_400;
const TOLD_MAX_MS = 5_000;
const READ_MAX_MS = 30_000;
/** Indexes that a view got since are built over all its documents. */
const INDEX_MAX_MS = 600_000;
const asked = <T>(ask: () => Promise<T>, ms = READ_MAX_MS): Promise<T> =>
  askedAgain(ask, ms, 'a question about a consumer');

export function createConsumerStore(db: Db, logId: string): ConsumerStore {
  const idOf = (ref: GenerationRef): string => consumerId(logId, ref);
  const consumers = db.collection<ConsumerDocument>('consumers');
  return {
    ensure: (consumer) => ensureConsumer(db, logId, consumer),
    async replayUntil(ref) {
      const options = { projection: { replayUntil: 1 }, readConcern: { level: 'majority' } } as const;
      const read = () => consumers.findOne({ _id: idOf(ref) }, options);
      return (await asked(read))?.replayUntil;
    },
    async tellBreaker(ref, instanceId, record) {
      const field = `breakers.${instanceId}`;
      const change = record === undefined ? { $unset: { [field]: true as const } } : { $set: { [field]: record } };
      const telling = consumers.updateOne({ _id: idOf(ref) }, change, { timeoutMS: TOLD_MAX_MS });
      await inTime(telling, TOLD_MAX_MS, 'the state of a breaker');
    },
  };
}

/** Each step may be done again: one that gets no answer is. */
async function ensureConsumer(db: Db, logId: string, consumer: ConsumerModel): Promise<ConsumerDocument> {
  const consumers = db.collection<ConsumerDocument>('consumers');
  const { name, version, generation, kind, partitionCount } = consumer;
  const ref = { consumer: name, generation };
  const _id = consumerId(logId, ref);
  const known = await asked(() => consumers.findOne({ _id }));
  if (known?.removing === true) throw stillRemoved(known);
  if (consumer.kind === 'projector') {
    await asked(() => ensureServed(db, logId, { ...ref, view: consumer.projector.into.name }));
  }
  await asked(() => ensureDocuments(db, consumer), INDEX_MAX_MS);
  const isThere = known !== null && known.retiredAt === undefined;
  if (!isThere) {
    const startPosition = await asked(() => startOf(db, logId, consumer));
    const created = {
      consumer: name,
      version,
      generation,
      kind,
      partitionCount,
      startPosition,
      ...(consumer.kind === 'projector' && { view: consumer.projector.into.name }),
      createdAt: new Date(),
    };
    if (known === null) await asked(() => consumers.updateOne({ _id }, { $setOnInsert: created }, { upsert: true }));
    else {
      const gone = { _id, retiredAt: { $exists: true }, removing: { $exists: false } } as const;
      await asked(() => consumers.replaceOne(gone, created));
    }
  }
  const fixed = isThere ? known : await asked(() => consumers.findOne({ _id }));
  if (fixed === null) throw new MillraceError('INTERNAL', `Consumer "${_id}" was removed while it was created.`);
  const { startPosition: checkpoint = 0 } = fixed;
  const operations = Array.from({ length: fixed.partitionCount }, (_, partition) => {
    const created = { ...ref, partition, checkpoint, revision: 0, updatedAt: new Date() };
    const filter = { _id: partitionId(logId, { ...ref, partition }) };
    return { updateOne: { filter, update: { $setOnInsert: created }, upsert: true } };
  });
  const partitions = db.collection<PartitionDocument>('partitions');
  await asked(() => partitions.bulkWrite(operations, { ordered: false }));
  return fixed;
}

async function ensureDocuments(db: Db, consumer: ConsumerModel): Promise<void> {
  const { kind, name, generation } = consumer;
  if (kind === 'projector') await ensureViewCollection(db, consumer.projector.into, generation);
  if (kind === 'saga') await ensureSagaCollection(db, { consumer: name, generation });
}

/** A view whose projector begins 'now' is built anew from where it began, and not without what it has seen since. */
async function startOf(db: Db, logId: string, consumer: ConsumerModel): Promise<number> {
  const { name, generation, startFrom } = consumer;
  if (consumer.kind === 'projector' && startFrom === 'now') {
    const others = {
      _id: { $gte: `${logId}/${name}/`, $lt: `${logId}/${name}0` },
      view: consumer.projector.into.name,
      generation: { $ne: generation },
      retiredAt: { $exists: false },
    };
    const other = await db.collection<ConsumerDocument>('consumers').findOne(others, { sort: { generation: -1 } });
    if (other !== null) return other.startPosition ?? 0;
  }
  return positionBefore(db.collection<LogDocument>('events', { readConcern: { level: 'majority' } }), startFrom);
}

/** Whoever removes it would take away what is built now. */
const stillRemoved = ({ consumer, generation, retiredAt }: ConsumerDocument): MillraceError =>
  new MillraceError(
    'CONSUMER_NOT_RUNNING',
    `Consumer "${consumer}" (generation ${generation}) was retired at ${retiredAt?.toISOString()}, and what it left is still being removed. Try again in a moment; if nobody is at it any more, repeat \`millrace consumers retire ${consumer} ${generation} --reason …\`.`,
    { details: { consumer, generation } },
  );

/** The position after which a consumer begins that starts there; at most the end of the log. */
export async function positionBefore(events: Collection<LogDocument>, startFrom: StartFrom): Promise<number> {
  if (startFrom === 'start') return 0;
  const [last] = await events
    .find({}, { projection: { _id: 1 } })
    .sort({ _id: -1 })
    .limit(1)
    .toArray();
  const end = last?._id ?? 0;
  if (startFrom === 'now') return end;
  if ('position' in startFrom) return Math.min(startFrom.position, end);
  return (await firstNotBefore(events, startFrom.time, end)) - 1;
}

/** Position of the first event that is not older than `time`; `end + 1` when all are. Times follow positions closely enough to halve. */
export async function firstNotBefore(events: Collection<LogDocument>, time: Date, end: number): Promise<number> {
  let from = 1;
  let to = end + 1;
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    const event = await events.findOne({ _id: { $gte: middle } }, { projection: { at: 1 }, sort: { _id: 1 } });
    if (event === null || event.at >= time) to = middle;
    else from = middle + 1;
  }
  return from;
}
