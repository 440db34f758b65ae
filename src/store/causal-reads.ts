import type { ClientSession, MongoClient, Timestamp } from 'mongodb';

/**
 * Majority reads that are never older than what this process has seen acknowledged. After a failover a plain majority read
 * may be: the new primary's majority point still trails the writes that the old one acknowledged.
 */
export interface CausalReads {
  /** Remembers how far the server was when this session was last answered. */
  observe(session: ClientSession): void;
  run<T>(read: (session: ClientSession) => Promise<T>): Promise<T>;
}

export function createCausalReads(client: MongoClient): CausalReads {
  let latest: Timestamp | undefined;
  const observe = (session: ClientSession): void => {
    const seen = session.operationTime;
    if (seen !== undefined && (latest === undefined || seen.greaterThan(latest))) latest = seen;
  };
  return {
    observe,
    async run(read) {
      const session = client.startSession({ causalConsistency: true });
      try {
        if (latest !== undefined) session.advanceOperationTime(latest);
        return await read(session);
      } finally {
        observe(session);
        await session.endSession();
      }
    },
  };
}
