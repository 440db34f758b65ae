import type { Db } from 'mongodb';
import { MillraceError } from '../errors.ts';
import type { JournalDocument } from './documents.ts';

/** `observer_journal`: what `once` ran and what came of it. Throws MONGODB_UNREACHABLE for whatever goes wrong. */
export interface JournalStore {
  /** The result of an earlier run as JSON, or undefined when there is none. */
  find(id: string): Promise<string | undefined>;
  /** Keeps the result; when another run was faster, its result stays and is returned. */
  record(id: string, json: string, ttlMs: number): Promise<string>;
}

const ANSWER_MAX_MS = 10_000;

export async function ensureJournal(db: Db): Promise<void> {
  await db.collection('observer_journal').createIndex({ expiresAt: 1 }, { name: 'expiry', expireAfterSeconds: 0 });
}

export function createJournalStore(db: Db): JournalStore {
  const journal = db.collection<JournalDocument>('observer_journal', {
    readConcern: { level: 'majority' },
    writeConcern: { w: 'majority', journal: true },
    readPreference: 'primary',
    timeoutMS: ANSWER_MAX_MS,
  });
  return {
    find: async (_id) => (await journal.findOne({ _id }).catch(unreachable))?.json,
    async record(_id, json, ttlMs) {
      const recorded = journal.findOneAndUpdate(
        { _id },
        [
          {
            $set: {
              json: { $ifNull: ['$json', { $literal: json }] },
              at: { $ifNull: ['$at', '$$NOW'] },
              expiresAt: { $ifNull: ['$expiresAt', { $add: ['$$NOW', ttlMs] }] },
            },
          },
        ],
        { upsert: true, returnDocument: 'after' },
      );
      return (await recorded.catch(unreachable))?.json ?? json;
    },
  };
}

function unreachable(cause: unknown): never {
  const reason = cause instanceof Error ? cause.message : String(cause);
  throw new MillraceError('MONGODB_UNREACHABLE', `The journal of \`once\` cannot be read or written: ${reason}`, {
    cause,
  });
}
