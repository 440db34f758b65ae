import { type ClientSession, type MongoClient, Timestamp } from 'mongodb';
import { askedAgain } from './in-time.ts';

/** A point in the server's history as text, so that another process can read what happened up to it. */
export type TimeText = string;
export const timeText = ({ operationTime }: ClientSession): TimeText | undefined => operationTime?.toString();

/**
 * Majority reads that are never older than what this process has seen acknowledged, or was told of by others. After a
 * failover a plain majority read may be: the new primary's majority point still trails the writes that the old one
 * acknowledged.
 */
export interface CausalReads {
  /** Remembers how far the server was when this session was last answered. */
  observe(session: ClientSession): void;
  /**
   * Reads that begin after this see everything that was acknowledged up to then; a server that is behind keeps them waiting
   * or refuses them. False, and without effect, for a time that cannot be: it would stop all reads until then.
   */
  notBefore(time: TimeText): boolean;
  /** `read` may run twice at once. Throws MONGODB_UNREACHABLE after READ_MAX_MS. */
  run<T>(read: (session: ClientSession) => Promise<T>): Promise<T>;
}

/** No read takes so long on a server that answers; a dead connection would keep one waiting for a quarter of an hour. */
const READ_MAX_MS = 30_000;

/** How far the clocks of MongoDB's machines may be ahead of this one's. */
const AHEAD_MAX_MS = 60_000;

export function createCausalReads(client: MongoClient): CausalReads {
  let latest: Timestamp | undefined;
  let told: TimeText | undefined;
  const raise = (seen: Timestamp): void => {
    if (latest === undefined || seen.greaterThan(latest)) latest = seen;
  };
  const observe = (session: ClientSession): void => {
    if (session.operationTime !== undefined) raise(session.operationTime);
  };
  return {
    observe,
    notBefore(time) {
      // A transaction of many partitions is told of once for each.
      if (time === told) return true;
      const point = Timestamp.fromString(time, 10);
      if (point.t * 1_000 > Date.now() + AHEAD_MAX_MS) return false;
      told = time;
      raise(point);
      return true;
    },
    run(read) {
      const ask = () => {
        const session = client.startSession({ causalConsistency: true });
        if (latest !== undefined) session.advanceOperationTime(latest);
        return read(session).finally(() => {
          observe(session);
          return session.endSession();
        });
      };
      return askedAgain(ask, READ_MAX_MS, 'a read');
    },
  };
}
