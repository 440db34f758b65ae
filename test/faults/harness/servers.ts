import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { MongoClient } from 'mongodb';
import {
  findMongod,
  findRedisServer,
  type MongoOptions,
  type PrivateServer,
  type RedisOptions,
  startMongo,
  startRedis,
} from '../../../src/services/index.ts';
import { freePort, launch, type ServerProcess, signalProcess } from '../../../src/services/server-process.ts';
import { until } from '../../setup/until.ts';

const TEST_COMMANDS = ['--setParameter', 'enableTestCommands=1'];
const LONG_TRANSACTIONS = ['--setParameter', 'transactionLifetimeLimitSeconds=60'];

/** A replica set of one with failpoints. A mongod that cannot be found is an error, never a skip. */
export async function faultMongo(dataDir: string, options: Partial<MongoOptions> = {}): Promise<PrivateServer> {
  const { args = [], ...rest } = options;
  const { path } = await findMongod();
  const server = await startMongo(path, {
    cacheGB: 0.25,
    oplogMB: 256,
    ...rest,
    dataDir,
    args: [...TEST_COMMANDS, ...args],
  });
  await allowLongTransactions(server.url);
  return {
    ...server,
    async restart() {
      await server.restart();
      await allowLongTransactions(server.url);
    },
  };
}

/** The servers of development end transactions after five seconds; what is left behind must be freed without that. */
async function allowLongTransactions(url: string): Promise<void> {
  const client = new MongoClient(url, { appName: 'faults' });
  try {
    await client.db('admin').command({ setParameter: 1, transactionLifetimeLimitSeconds: 60 });
  } finally {
    await client.close();
  }
}

export async function faultRedis(dataDir: string, options: Partial<RedisOptions> = {}): Promise<PrivateServer> {
  const { path } = await findRedisServer();
  return startRedis(path, { ...options, dataDir });
}

/** One mongod of a set. */
export interface Member {
  readonly host: string;
  readonly port: number;
  readonly dataDir: string;
  signal(name: NodeJS.Signals): void;
  kill(): Promise<void>;
  restart(): Promise<void>;
  /** A client of this very member, whatever it is. */
  readonly direct: MongoClient;
}

/** Three real mongod that vote. */
export class ReplicaSet {
  readonly url: string;
  readonly members: readonly Member[];

  private constructor(members: readonly Member[]) {
    this.members = members;
    this.url = `mongodb://${members.map(({ host }) => host).join(',')}/?replicaSet=rs0`;
  }

  static async start(dataDir: string, electionTimeoutMs: number): Promise<ReplicaSet> {
    const { path } = await findMongod();
    const members = await Promise.all([0, 1, 2].map((index) => startMember(path, join(dataDir, `member-${index}`))));
    await members[0]!.direct.db('admin').command({
      replSetInitiate: {
        _id: 'rs0',
        members: members.map(({ host }, _id) => ({ _id, host })),
        settings: { electionTimeoutMillis: electionTimeoutMs },
      },
    });
    const set = new ReplicaSet(members);
    await set.primary(60_000);
    return set;
  }

  /** Waits for a member that says that it is the writable primary. */
  primary(timeoutMs = 40_000, of: readonly Member[] = this.members): Promise<Member> {
    const look = async (): Promise<Member | undefined> => {
      for (const member of of) {
        const hello = await member.direct
          .db('admin')
          .command({ hello: 1 }, { timeoutMS: 1_000 })
          .catch(() => undefined);
        if (hello?.isWritablePrimary === true) return member;
      }
      return undefined;
    };
    return until('a primary', look, { timeoutMs });
  }

  async kill(): Promise<void> {
    for (const { direct } of this.members) await direct.close().catch(() => undefined);
    await Promise.all(this.members.map((member) => member.kill()));
  }
}

async function startMember(binary: string, dataDir: string): Promise<Member> {
  const dbPath = join(dataDir, 'mongo');
  mkdirSync(dbPath, { recursive: true });
  const port = await freePort();
  const start = (): Promise<ServerProcess> =>
    launch({
      name: 'MongoDB',
      binary,
      args: [
        ...['--dbpath', dbPath, '--port', String(port), '--bind_ip', '127.0.0.1', '--replSet', 'rs0'],
        ...['--wiredTigerCacheSizeGB', '0.5', '--oplogSize', '128', '--nounixsocket'],
        ...['--setParameter', 'diagnosticDataCollectionEnabled=false'],
        ...TEST_COMMANDS,
        ...LONG_TRANSACTIONS,
      ],
      port,
      logFile: join(dataDir, 'mongo.log'),
      noteFile: join(dataDir, 'mongo.json'),
      stopGraceMs: 3_000,
    });
  let current = await start();
  const url = `mongodb://127.0.0.1:${port}/?directConnection=true`;
  await untilAnswers(url);
  const direct = new MongoClient(url, { serverSelectionTimeoutMS: 2_000, appName: 'faults' });
  await direct.connect();
  return {
    host: `127.0.0.1:${port}`,
    port,
    dataDir,
    direct,
    signal: (name) => signalProcess(current.pid, name),
    async kill() {
      if (!current.hasExited()) await current.kill();
    },
    async restart() {
      if (!current.hasExited()) await current.stop();
      current = await start();
      await untilAnswers(url);
    },
  };
}

function untilAnswers(url: string): Promise<true> {
  const look = async (): Promise<true | undefined> => {
    // A client of its own: one that has failed to connect stays closed.
    const client = new MongoClient(url, { serverSelectionTimeoutMS: 500, appName: 'faults' });
    try {
      await client.db('admin').command({ ping: 1 }, { timeoutMS: 2_000 });
      return true;
    } catch {
      return undefined;
    } finally {
      await client.close();
    }
  };
  return until(`${url} answers`, look, { timeoutMs: 30_000 });
}
