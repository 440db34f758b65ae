import { MongoClient } from 'mongodb';
import { uuidv7 } from 'uuidv7';
import { accountId, environment } from '../lib/append-contender.ts';

/** A client of driver 7 with the durability that Millrace has: majority and journal. */
export const connect = () =>
  new MongoClient(environment('MONGODB_URL'), {
    writeConcern: { w: 'majority', journal: true },
    readConcern: { level: 'majority' },
  }).connect();

/** The document that Millrace writes for a command with one event (`commits`, docs/architecture.md). */
export function commitDocument(account: number, version: number, type: string, eventType: string, data: object) {
  const commandId = uuidv7();
  return {
    _id: uuidv7(),
    stream: `default/account/${accountId(account)}`,
    version,
    command: { id: commandId, type, data, hash: 'pgzBAXrSsHmMs8hwVCUEMZ8QnHGBRvqFwQO5fJ7fDHc' },
    events: [{ id: uuidv7(), type: eventType, schemaVersion: 1, data }],
    meta: {
      correlationId: commandId,
      causationId: commandId,
      actor: null,
      tenant: 'default',
      traceparent: null,
      client: null,
    },
    at: new Date(),
  };
}
export type CommitDocument = ReturnType<typeof commitDocument>;

/** The versions of 2,000 streams, kept by the baselines in memory for nothing. */
export class Versions {
  readonly #versions: number[] = [];

  next(account: number): number {
    const version = (this.#versions[account] ?? 0) + 1;
    this.#versions[account] = version;
    return version;
  }
}
