import type { Db } from 'mongodb';
import { ignoreExisting } from './commits.ts';
import { WRITE_CONCERN } from './connect.ts';
import type { SnapshotDocument } from './documents.ts';
import { askedAgain, inTime } from './in-time.ts';

/**
 * `snapshots`: one a stream, overwritten. A hint like the cache of states: whoever reads one checks it, and without any the stream is
 * folded from its beginning.
 */
export interface SnapshotStore {
  /** Majority, from the primary. */
  find(stream: string): Promise<SnapshotDocument | undefined>;
  /** Unless a later one of the same shape is there. Only for states whose last commit the majority has. */
  put(snapshot: SnapshotDocument): Promise<void>;
  /** Unless it is no longer the one with this `check`. */
  remove(stream: string, check: string): Promise<void>;
}

export async function ensureSnapshots(db: Db, existing: ReadonlySet<string>): Promise<void> {
  if (existing.has('snapshots')) return;
  await db.createCollection('snapshots', { clusteredIndex: { key: { _id: 1 }, unique: true } }).catch(ignoreExisting);
}

const READ_MAX_MS = 30_000;
const WRITE_MAX_MS = 10_000;
const DUPLICATE_KEY = 11_000;

export function createSnapshotStore(db: Db): SnapshotStore {
  const snapshots = db.collection<SnapshotDocument>('snapshots', { readConcern: { level: 'majority' } });
  return {
    async find(stream) {
      const read = () => snapshots.findOne({ _id: { $eq: stream } });
      return (await askedAgain(read, READ_MAX_MS, 'a read of a snapshot')) ?? undefined;
    },
    async put({ _id, ...snapshot }) {
      const { version, shape } = snapshot;
      const older = { _id, $or: [{ version: { $lt: version } }, { shape: { $ne: shape } }] };
      const written = snapshots.replaceOne(older, snapshot, { upsert: true, writeConcern: WRITE_CONCERN });
      await inTime(written, WRITE_MAX_MS, 'a snapshot').catch((error: unknown) => {
        // A later one is there.
        if (typeof error === 'object' && error !== null && 'code' in error && error.code === DUPLICATE_KEY) return;
        throw error;
      });
    },
    async remove(stream, check) {
      const removed = snapshots.deleteOne({ _id: { $eq: stream }, check }, { writeConcern: WRITE_CONCERN });
      await inTime(removed, WRITE_MAX_MS, 'the removal of a snapshot');
    },
  };
}
