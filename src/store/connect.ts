import { type Db, MongoClient, type MongoClientOptions, MongoError, MongoServerSelectionError } from 'mongodb';
import { MillraceError } from '../errors.ts';
import { inTime } from './in-time.ts';
import { standalone, whyNotServed } from './why-not-served.ts';

export interface Connection {
  readonly client: MongoClient;
  readonly db: Db;
}

/** Oldest MongoDB that Millrace runs on. Production needs a patched server, see docs/operations.md. */
export const MONGODB_MIN_MAJOR = 6;

/** For raw commands, which do not take it from the client. */
export const WRITE_CONCERN = { w: 'majority', j: true, wtimeout: 10_000 } as const;

/**
 * Concerns are set here, in code, and not left to the server's defaults: every write is acknowledged by a majority and
 * journaled, every read is majority and from the primary.
 */
export const clientOptions = (appName: string): MongoClientOptions => ({
  appName,
  writeConcern: { w: 'majority', journal: true, wtimeoutMS: 10_000 },
  readConcern: { level: 'majority' },
  readPreference: 'primary',
  retryWrites: true,
  retryReads: true,
  ignoreUndefined: true,
  serverSelectionTimeoutMS: 5_000,
  // A server that falls silent without closing its connections is given up after this and 10 s of heartbeat: every call that
  // waits for it fails then.
  connectTimeoutMS: 10_000,
  maxPoolSize: 50,
});

/** With the end of the sessions of transactions before it, less than the second that a process has after its shutdown time. */
const CLOSE_MAX_MS = 400;

/** Ends the client's sessions on the server and closes its connections; a server that does not answer is left behind. */
export async function closeClient(client: MongoClient): Promise<void> {
  await inTime(client.close(), CLOSE_MAX_MS, 'the end of the sessions').catch(() => undefined);
}

/**
 * Connects and checks the server. Throws MONGODB_UNREACHABLE, MONGODB_NOT_REPLICA_SET, MONGODB_TOO_OLD or
 * MONGODB_FORBIDDEN with cause and cure.
 */
export async function connect(options: {
  readonly url: string;
  readonly database: string;
  readonly appName: string;
}): Promise<Connection> {
  const client = new MongoClient(options.url, clientOptions(options.appName));
  try {
    await client.connect();
    await checkServer(client);
    const db = client.db(options.database);
    await checkRights(db);
    return { client, db };
  } catch (error) {
    await closeClient(client);
    const unserved = error instanceof MongoServerSelectionError ? await whyNotServed(options.url) : undefined;
    throw unserved ?? explainMongo(error, options.url);
  }
}

async function checkServer(client: MongoClient): Promise<void> {
  const admin = client.db('admin');
  const hello = await admin.command({ hello: 1 });
  if (typeof hello.setName !== 'string' && hello.msg !== 'isdbgrid') {
    throw standalone();
  }
  const { version } = await admin.command({ buildInfo: 1 });
  if (Number.parseInt(String(version), 10) < MONGODB_MIN_MAJOR) {
    throw new MillraceError(
      'MONGODB_TOO_OLD',
      `MongoDB is version ${version}. Millrace needs ${MONGODB_MIN_MAJOR}.0 or newer.`,
    );
  }
}

async function checkRights(db: Db): Promise<void> {
  await db.listCollections({}, { nameOnly: true }).toArray();
}

/** What a failure at start says to whoever runs it; what it does not know comes back as it is. */
export function explainMongo(error: unknown, url: string): unknown {
  if (error instanceof MillraceError) return error;
  const host = url.replace(/^(mongodb(?:\+srv)?:\/\/)[^@/]*@/, '$1').replace(/\?.*$/, '');
  // A refused command is quoted whole by the server, session and cluster time included.
  const reason = (error instanceof Error ? error.message : String(error)).replace(/(\{ \w+: [^,]*),.*$/s, '$1, … }');
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  if (code === 13 || code === 18) {
    return new MillraceError(
      'MONGODB_FORBIDDEN',
      `MongoDB at ${host} refuses this user: ${reason.replace(/\.$/, '')}. Give it readWrite on the database, and check user, password and authSource in MONGODB_URL.`,
      { cause: error },
    );
  }
  // A string: what the system says, such as ENOTFOUND for the name behind mongodb+srv.
  const unreached = error instanceof MongoError ? code === undefined : typeof code === 'string';
  if (unreached || error instanceof MongoServerSelectionError) {
    return new MillraceError(
      'MONGODB_UNREACHABLE',
      `MongoDB at ${host} cannot be reached: ${reason}. Check MONGODB_URL, that the server runs, and that replicaSet= in the URL is its set's name.`,
      { cause: error },
    );
  }
  return error;
}
