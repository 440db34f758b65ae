import type { Collection, Db, Document, Filter } from 'mongodb';
import type { CausalReads } from './causal-reads.ts';
import { ignoreExisting } from './commits.ts';
import { deadLetterId } from './dead-letters.ts';
import type { DeadLetterDocument, QueuedCommandDocument, SagaDocument, SagaKeyDocument } from './documents.ts';
import { askedAgain } from './in-time.ts';
import type { GenerationRef } from './partitions.ts';
import { viewCollectionName } from './view-documents.ts';

/** An instance, or a key that leads to one. */
interface Ended {
  readonly _id: string;
  readonly instance?: string;
  readonly expiresAt?: Date;
}
type Sender = NonNullable<QueuedCommandDocument['sender']>;
/** Newest first: by when they started, then by id. */
export interface SagaPlace {
  readonly startedAt: Date;
  readonly id: string;
}
/** A refused command that its sender was not told of. */
export interface Untold {
  readonly _id: string;
  readonly commandId: string;
  readonly sender: Sender;
}
export interface SagaListFilter {
  readonly status?: SagaDocument['status'] | undefined;
  readonly correlationId?: string | undefined;
}

/**
 * What sagas keep beside the documents of their partitions, and reads of their instances. Everything that partitions decide by is
 * read like them: majority, and not older than what this process wrote.
 */
export interface SagaStore {
  /** The instances that these correlation keys lead to; keys that lead nowhere are left out. */
  keys(of: GenerationRef, keys: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** A refused command of an instance, unless it was told. */
  refusal(sender: Sender, commandId: string): Promise<QueuedCommandDocument | undefined>;
  /** Refused commands of a saga that were not told yet, by partition and command id; at most `limit`, those after a place. */
  untold(of: GenerationRef, after: Untold | undefined, limit: number): Promise<readonly Untold[]>;
  /**
   * Removes instances that ended and are not kept any longer than this, with their correlation keys; those that have a dead letter
   * stay for another day. At most `limit` of each; true when there may be more.
   */
  dropEnded(of: GenerationRef, keptUntil: Date, limit: number): Promise<boolean>;
  instance(of: GenerationRef, id: string): Promise<SagaDocument | undefined>;
  /** Newest first; from the far end when `turned`. */
  list(
    of: GenerationRef,
    filter: SagaListFilter,
    slice: {
      readonly after: SagaPlace | undefined;
      readonly before: SagaPlace | undefined;
      readonly inclusive: boolean;
      readonly turned: boolean;
      readonly limit: number;
    },
  ): Promise<readonly SagaDocument[]>;
  /** What is known of queued commands, by id of their documents; those that expired are left out. */
  commands(
    ids: readonly string[],
  ): Promise<readonly Pick<QueuedCommandDocument, '_id' | 'state' | 'refusal' | 'attempts' | 'error'>[]>;
}

const ENDED = { expiresAt: { $exists: true } } as const;
const ANSWER_MAX_MS = 10_000;
const DAY_MS = 86_400_000;
/** Keys and commands of one query. */
const IDS_PER_READ = 1_000;

export const sagaKeyId = (logId: string, { consumer, generation }: GenerationRef, key: string): string =>
  `${logId}/${consumer}/${generation}/${key}`;

/** Collections must exist before transactions write to them. */
export async function ensureSagas(db: Db, existing: ReadonlySet<string>): Promise<void> {
  if (!existing.has('saga_keys')) await db.createCollection('saga_keys').catch(ignoreExisting);
  const key = { consumer: 1, generation: 1, expiresAt: 1 } as const;
  await db.collection('saga_keys').createIndex(key, { name: 'ended', partialFilterExpression: ENDED });
}

/** The collection of a saga's instances. Idempotent. */
export async function ensureSagaCollection(db: Db, { consumer, generation }: GenerationRef): Promise<void> {
  const name = viewCollectionName({ kind: 'saga', view: consumer, generation });
  await db.createCollection(name).catch(ignoreExisting);
  await db.collection(name).createIndexes([
    { name: 'started', key: { startedAt: -1, _id: 1 } },
    { name: 'status', key: { status: 1, startedAt: -1, _id: 1 } },
    { name: 'correlation', key: { correlationId: 1, startedAt: -1, _id: 1 } },
    { name: 'ended', key: { expiresAt: 1 }, partialFilterExpression: ENDED },
  ]);
}

const READ_MAX_MS = 30_000;

export function createSagaStore(db: Db, logId: string, reads: CausalReads): SagaStore {
  const queued = db.collection<QueuedCommandDocument>('queued_commands');
  const sagaKeys = db.collection<SagaKeyDocument>('saga_keys');
  const deadLetters = db.collection<DeadLetterDocument>('dead_letters', { timeoutMS: ANSWER_MAX_MS });
  const collectionOf = ({ consumer, generation }: GenerationRef) =>
    db.collection<SagaDocument>(viewCollectionName({ kind: 'saga', view: consumer, generation }));
  return {
    keys: (of, keys) =>
      reads.run(async (session) => {
        const found = new Map<string, string>();
        for (let i = 0; i < keys.length; i += IDS_PER_READ) {
          const ids = keys.slice(i, i + IDS_PER_READ).map((key) => sagaKeyId(logId, of, key));
          const some = sagaKeys.find({ _id: { $in: ids } }, { session, batchSize: IDS_PER_READ });
          for await (const { key, instance } of some) found.set(key, instance);
        }
        return found;
      }),
    refusal: ({ consumer, generation, partition, key }, commandId) =>
      reads.run(async (session) => {
        const sender = { 'sender.consumer': consumer, 'sender.generation': generation, 'sender.partition': partition };
        const filter: Document = { ...sender, tell: true, 'sender.key': key, commandId, logId };
        return (await queued.findOne(filter, { session })) ?? undefined;
      }),
    async untold({ consumer, generation }, after, limit) {
      const beyond: Document =
        after === undefined
          ? {}
          : {
              'sender.partition': { $gte: after.sender.partition },
              $or: [
                { 'sender.partition': { $gt: after.sender.partition } },
                { 'sender.partition': after.sender.partition, commandId: { $gt: after.commandId } },
              ],
            };
      const filter: Document = { 'sender.consumer': consumer, 'sender.generation': generation, tell: true, logId };
      const read = () =>
        queued
          .find<Untold>({ ...filter, ...beyond }, { readConcern: { level: 'majority' }, batchSize: limit })
          .project<Untold>({ commandId: 1, sender: 1 })
          .sort({ 'sender.partition': 1, commandId: 1 })
          .limit(limit)
          .toArray();
      return askedAgain(read, READ_MAX_MS, 'a read of refusals');
    },
    async dropEnded(of, keptUntil, limit) {
      const { consumer, generation } = of;
      const over = { expiresAt: { $lte: keptUntil } };
      const drop = async (from: Collection<Ended>, filter: Filter<Ended>): Promise<boolean> => {
        const found = await from
          .find({ ...filter, ...over }, { projection: { instance: 1 } })
          .limit(limit)
          .toArray();
        const letterOf = ({ _id, instance = _id }: Ended): string => deadLetterId(logId, of, instance);
        const letters = [...new Set(found.map(letterOf))];
        const dead = await deadLetters.find({ _id: { $in: letters } }, { projection: { _id: 1 } }).toArray();
        const blocked = new Set(dead.map(({ _id }) => _id));
        const stay = found.filter((one) => blocked.has(letterOf(one))).map(({ _id }) => _id);
        const go = found.filter((one) => !blocked.has(letterOf(one))).map(({ _id }) => _id);
        // On condition that they did not begin anew meanwhile.
        if (go.length > 0) await from.deleteMany({ _id: { $in: go }, ...over });
        if (stay.length > 0) {
          const longer = { expiresAt: new Date(keptUntil.getTime() + DAY_MS) };
          await from.updateMany({ _id: { $in: stay }, ...over }, { $set: longer });
        }
        return found.length === limit;
      };
      const instances = db.collection<Ended>(collectionOf(of).collectionName, { timeoutMS: ANSWER_MAX_MS });
      const keys = db.collection<Ended>('saga_keys', { timeoutMS: ANSWER_MAX_MS });
      const prefix = sagaKeyId(logId, of, '');
      const more = await drop(instances, {});
      return (
        (await drop(keys, { consumer, generation, _id: { $gte: prefix, $lt: `${prefix.slice(0, -1)}0` } })) || more
      );
    },
    async instance(of, id) {
      const read = () => collectionOf(of).findOne({ _id: id }, { readConcern: { level: 'majority' } });
      return (await askedAgain(read, READ_MAX_MS, 'a read of a saga')) ?? undefined;
    },
    list(of, { status, correlationId }, slice) {
      const { after, before, inclusive, turned, limit } = slice;
      const and: Filter<SagaDocument>[] = [];
      if (status !== undefined) and.push({ status });
      if (correlationId !== undefined) and.push({ correlationId });
      if (after !== undefined) and.push(beyond(after, '$lt', '$gt', inclusive));
      if (before !== undefined) and.push(beyond(before, '$gt', '$lt', inclusive));
      const turn = turned ? -1 : 1;
      const read = () =>
        collectionOf(of)
          .find(and.length === 0 ? {} : { $and: and }, { readConcern: { level: 'majority' } })
          .sort({ startedAt: turned ? 1 : -1, _id: turn })
          .limit(limit)
          .toArray();
      return askedAgain(read, READ_MAX_MS, 'a list of sagas');
    },
    async commands(ids) {
      const found: Awaited<ReturnType<SagaStore['commands']>>[number][] = [];
      const projection = { state: 1, refusal: 1, attempts: 1, error: 1 };
      for (let i = 0; i < ids.length; i += IDS_PER_READ) {
        const some = ids.slice(i, i + IDS_PER_READ);
        const read = () => queued.find({ _id: { $in: some } }, { projection }).toArray();
        found.push(...(await askedAgain(read, READ_MAX_MS, 'a read of commands that sagas sent')));
      }
      return found;
    },
  };
}

/** What lies after a place in the list, or before it. */
function beyond(
  { startedAt, id }: SagaPlace,
  time: '$lt' | '$gt',
  order: '$gt' | '$lt',
  inclusive: boolean,
): Filter<SagaDocument> {
  const same: Document = { startedAt, _id: { [inclusive ? `${order}e` : order]: id } };
  const other: Document = { startedAt: { [time]: startedAt } };
  return { $or: [other, same] };
}
