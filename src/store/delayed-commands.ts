import type { Db, Filter } from 'mongodb';
import type { QueuedCommandDocument } from './documents.ts';
import { beyondPlace, type DueRange, type TimerSlice, withinRange } from './timers.ts';

export interface DelayedListFilter {
  readonly target?: string | undefined;
  readonly dueBefore?: Date | undefined;
}

/** Commands of `queued_commands` that wait for their time (`notBefore`), as timers. What becomes of them is not written here. */
export interface DelayedCommandStore {
  /** Due times in ms, ascending, at most `limit`. */
  dueTimes(range: DueRange, limit: number): Promise<readonly number[]>;
  /** Those that are due, by time, at most `limit`. */
  due(range: DueRange, limit: number): Promise<readonly QueuedCommandDocument[]>;
  /**
   * Those that are due and that this never returned before, by time, at most `limit`. From `sweepMs` on the sweep sees to them, as
   * to any command: what cannot be carried out now hides no younger ones.
   */
  takeOverdue(to: Date, limit: number, sweepMs: number): Promise<readonly QueuedCommandDocument[]>;
  list(filter: DelayedListFilter, slice: TimerSlice): Promise<readonly QueuedCommandDocument[]>;
}

const ANSWER_MAX_MS = 10_000;
/** Those that wait, and no other: the others are many. */
const WAITING = { state: 'RECEIVED', notBefore: { $exists: true } } as const;

export async function ensureDelayedCommands(db: Db): Promise<void> {
  await db.collection('queued_commands').createIndexes([
    { name: 'delayed', key: { notBefore: 1, _id: 1 }, partialFilterExpression: WAITING },
    { name: 'delayed_untaken', key: { dueAt: 1, notBefore: 1, _id: 1 }, partialFilterExpression: WAITING },
  ]);
}

export function createDelayedCommandStore(db: Db): DelayedCommandStore {
  const queued = db.collection<QueuedCommandDocument>('queued_commands', {
    readConcern: { level: 'majority' },
    timeoutMS: ANSWER_MAX_MS,
  });
  const waiting = (range: DueRange): Filter<QueuedCommandDocument> => ({
    state: 'RECEIVED',
    notBefore: { $exists: true, ...withinRange(range) },
  });
  return {
    async dueTimes(range, limit) {
      const found = queued.find(waiting(range), { projection: { _id: 0, notBefore: 1 }, batchSize: limit });
      const due = await found.sort({ notBefore: 1, _id: 1 }).limit(limit).toArray();
      return due.flatMap(({ notBefore }) => (notBefore === undefined ? [] : [notBefore.getTime()]));
    },
    due: (range, limit) => queued.find(waiting(range)).sort({ notBefore: 1, _id: 1 }).limit(limit).toArray(),
    async takeOverdue(to, limit, sweepMs) {
      // Who takes one up gives it a time for the sweep, if only that.
      const untaken: Filter<QueuedCommandDocument> = { ...waiting({ to }), dueAt: { $exists: false } };
      const found = await queued.find(untaken).sort({ notBefore: 1, _id: 1 }).limit(limit).toArray();
      if (found.length === 0) return [];
      const these = { ...untaken, _id: { $in: found.map(({ _id }) => _id) } };
      await queued.updateMany(these, [{ $set: { dueAt: { $add: ['$$NOW', sweepMs] } } }]);
      return found;
    },
    list({ target, dueBefore }, { after, before, inclusive, turned, limit }) {
      const and: Filter<QueuedCommandDocument>[] = [WAITING];
      if (target !== undefined) and.push({ target });
      if (dueBefore !== undefined) and.push({ notBefore: { $lt: dueBefore } });
      if (after !== undefined) and.push(beyondPlace('notBefore', '$gt', after, inclusive));
      if (before !== undefined) and.push(beyondPlace('notBefore', '$lt', before, inclusive));
      const direction = turned ? -1 : 1;
      return queued.find({ $and: and }).sort({ notBefore: direction, _id: direction }).limit(limit).toArray();
    },
  };
}
