import { MongoClient, MongoServerError } from 'mongodb';
import { MillraceError } from '../errors.ts';

export const REPLICA_SET = 'rs0';
const POLL_MS = 50;
const NOT_YET_INITIALIZED = 94;

export interface ReplicaSetOptions {
  readonly port: number;
  readonly timeoutMs: number;
  /** Why waiting is pointless, e.g. because the process has ended. */
  readonly giveUp: () => Promise<string | undefined>;
}

/**
 * Makes the server on this port the writable primary of a replica set of one: initiates the set on new data, and points
 * it at its own address where the data was served on another port before. Throws SERVER_START_FAILED.
 */
export async function becomePrimary({ port, timeoutMs, giveUp }: ReplicaSetOptions): Promise<void> {
  const host = `127.0.0.1:${port}`;
  const client = new MongoClient(`mongodb://${host}/?directConnection=true`, {
    serverSelectionTimeoutMS: 500,
    connectTimeoutMS: 2_000,
    appName: 'millrace-services',
  });
  const deadline = Date.now() + timeoutMs;
  let seen = 'no answer';
  try {
    for (;;) {
      const reason = await giveUp();
      if (reason !== undefined) throw new MillraceError('SERVER_START_FAILED', reason);
      if (Date.now() > deadline) {
        throw new MillraceError(
          'SERVER_START_FAILED',
          `MongoDB on ${host} was not primary in time; last seen: ${seen}`,
        );
      }
      try {
        const state = await step(client, host);
        if (state === 'primary') return;
        seen = state;
      } catch (error) {
        seen = error instanceof Error ? error.message : String(error);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } finally {
    await client.close();
  }
}

/** Looks once, does what is due, and says what it saw. */
async function step(client: MongoClient, host: string): Promise<string> {
  const admin = client.db('admin');
  const hello = await admin.command({ hello: 1 });
  if (hello.isWritablePrimary === true && hello.me === host) return 'primary';
  const config = await currentConfig(client);
  if (config === undefined) {
    await admin.command({ replSetInitiate: { _id: REPLICA_SET, members: [{ _id: 0, host }] } });
    return 'initiated';
  }
  if (config.host !== host) {
    const members = [{ _id: 0, host }];
    const next = { _id: config.setName, version: config.version + 1, protocolVersion: 1, members };
    await admin.command({ replSetReconfig: next, force: true });
    return `moved from ${config.host}`;
  }
  return `member in state ${hello.secondary === true ? 'secondary' : 'starting'}`;
}

interface OwnConfig {
  readonly setName: string;
  readonly version: number;
  readonly host: string;
}

async function currentConfig(client: MongoClient): Promise<OwnConfig | undefined> {
  try {
    const { config } = await client.db('admin').command({ replSetGetConfig: 1 });
    return { setName: String(config._id), version: Number(config.version), host: String(config.members[0].host) };
  } catch (error) {
    if (error instanceof MongoServerError && error.code === NOT_YET_INITIALIZED) return undefined;
    throw error;
  }
}
