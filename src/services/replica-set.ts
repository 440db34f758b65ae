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
 * Makes the server on this port the writable primary of a replica set of one; on new data it initiates the set.
 * Throws SERVER_START_FAILED.
 */
export async function becomePrimary({ port, timeoutMs, giveUp }: ReplicaSetOptions): Promise<void> {
  const host = `127.0.0.1:${port}`;
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const seen = await look(host);
    if (seen === 'primary') return;
    const reason = await giveUp();
    if (reason !== undefined) throw new MillraceError('SERVER_START_FAILED', reason);
    if (Date.now() > deadline) {
      throw new MillraceError('SERVER_START_FAILED', `MongoDB on ${host} was not primary in time; last seen: ${seen}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** With a client of its own: one that has failed to connect stays closed. */
async function look(host: string): Promise<string> {
  const client = new MongoClient(`mongodb://${host}/?directConnection=true`, {
    serverSelectionTimeoutMS: 300,
    connectTimeoutMS: 2_000,
    appName: 'millrace-services',
  });
  try {
    await client.connect();
    return await step(client, host);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await client.close();
  }
}

/** Looks once, does what is due, and says what it saw. */
async function step(client: MongoClient, host: string): Promise<string> {
  const admin = client.db('admin');
  const hello = await admin.command({ hello: 1 });
  if (hello.isWritablePrimary === true && hello.me === host) return 'primary';
  if (await isInitiated(client)) return hello.secondary === true ? 'secondary' : 'starting';
  await admin.command({ replSetInitiate: { _id: REPLICA_SET, members: [{ _id: 0, host }] } });
  return 'initiated';
}

async function isInitiated(client: MongoClient): Promise<boolean> {
  try {
    await client.db('admin').command({ replSetGetConfig: 1 });
    return true;
  } catch (error) {
    if (error instanceof MongoServerError && error.code === NOT_YET_INITIALIZED) return false;
    throw error;
  }
}

/**
 * Points the replica set in this data at another port of this host. The server must run without `--replSet`: as a member
 * it would first look for itself at the old address, for 30 s where something there does not answer.
 */
export async function moveReplicaSet(port: number): Promise<void> {
  const client = new MongoClient(`mongodb://127.0.0.1:${port}/?directConnection=true`, {
    serverSelectionTimeoutMS: 60_000,
    appName: 'millrace-services',
  });
  try {
    await client
      .db('local')
      .collection<{ _id: string }>('system.replset')
      .updateOne({ _id: REPLICA_SET }, { $set: { 'members.0.host': `127.0.0.1:${port}` } });
  } finally {
    await client.close();
  }
}
