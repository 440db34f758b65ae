import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError } from '../errors.ts';
import { endedAtStart, type PrivateServer, privateServer } from './private-server.ts';
import { becomePrimary, moveReplicaSet, REPLICA_SET } from './replica-set.ts';
import { choosePort, type LaunchOptions, lastPort, launch, type ServerProcess } from './server-process.ts';

const STOP_GRACE_MS = 3_000;

export interface MongoOptions {
  /** Holds the data in `mongo/`, beside it log and notes. */
  readonly dataDir: string;
  /** Default: the port of the last start of this data, when it is free; else a free one. */
  readonly port?: number;
  /** GB for WiredTiger's cache; default 0.5. */
  readonly cacheGB?: number;
  /** MB of oplog; default 1024. */
  readonly oplogMB?: number;
  /** Added to the command line, e.g. `['--setParameter', 'enableTestCommands=1']`. */
  readonly args?: readonly string[];
  /** Default 60,000: recovery after a kill takes a while. */
  readonly startTimeoutMs?: number;
}

/**
 * Starts mongod on loopback as a replica set of one and resolves when it is the writable primary. The server ends with
 * this process. Throws SERVER_START_FAILED with the end of its log.
 */
export async function startMongo(binary: string, options: MongoOptions): Promise<PrivateServer> {
  const { dataDir, cacheGB = 0.5, oplogMB = 1_024, args = [], startTimeoutMs = 60_000 } = options;
  const dbPath = join(dataDir, 'mongo');
  const noteFile = join(dataDir, 'mongo.json');
  await mkdir(dbPath, { recursive: true });
  const port = options.port ?? (await choosePort(noteFile));
  const server: Omit<LaunchOptions, 'args'> = {
    name: 'MongoDB',
    binary,
    port,
    logFile: join(dataDir, 'mongo.log'),
    noteFile,
    stopGraceMs: STOP_GRACE_MS,
  };
  const replicaSet = ['--replSet', REPLICA_SET, '--oplogSize', String(oplogMB), ...args];
  const start = async (): Promise<ServerProcess> => {
    const running = await launch({ ...server, args: [...commandLine(dbPath, port, cacheGB), ...replicaSet] });
    try {
      const giveUp = async () => (running.hasExited() ? endedAtStart('MongoDB', await running.logTail()) : undefined);
      await becomePrimary({ port, timeoutMs: startTimeoutMs, giveUp });
      return running;
    } catch (error) {
      await running.kill();
      throw error;
    }
  };
  const moved = existsSync(join(dbPath, 'WiredTiger')) && (await lastPort(noteFile)) !== port;
  if (moved) await moveData({ ...server, args: commandLine(dbPath, port, cacheGB) });
  return privateServer(`mongodb://127.0.0.1:${port}/?replicaSet=${REPLICA_SET}`, port, dataDir, await start(), start);
}

/** With a note file of its own: until the move is done, the note beside the data names the port that is in the data. */
async function moveData(options: LaunchOptions): Promise<void> {
  const alone = await launch({ ...options, noteFile: `${options.noteFile}.move` });
  const ended = alone.exited.then(async () => {
    throw new MillraceError('SERVER_START_FAILED', endedAtStart('MongoDB', await alone.logTail()));
  });
  try {
    await Promise.race([moveReplicaSet(options.port), ended]);
  } finally {
    ended.catch(() => undefined);
    await alone.stop();
  }
}

function commandLine(dbPath: string, port: number, cacheGB: number): string[] {
  return [
    ...['--dbpath', dbPath, '--port', String(port), '--bind_ip', '127.0.0.1'],
    ...['--wiredTigerCacheSizeGB', String(cacheGB)],
    // A killed process must not lock its documents for a minute.
    ...['--setParameter', 'transactionLifetimeLimitSeconds=5'],
    // Nobody reads at times gone by; keeping five minutes of old versions took a sixth of MongoDB's time (measured).
    ...['--setParameter', 'minSnapshotHistoryWindowInSeconds=0'],
    // zlib is left out: CVE-2025-14847 in mongod 6.0.5.
    ...['--networkMessageCompressors', 'snappy,zstd'],
    ...['--setParameter', 'diagnosticDataCollectionEnabled=false', '--quiet'],
    ...(process.platform === 'win32' ? [] : ['--nounixsocket']),
  ];
}
