import { mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { MillraceError } from '../errors.ts';
import { endedAtStart, notInTime, type PrivateServer, privateServer } from './private-server.ts';
import { choosePort, launch, type ServerProcess } from './server-process.ts';

const STOP_GRACE_MS = 3_000;
const POLL_MS = 25;

export interface RedisOptions {
  /** Holds the data in `redis/`, beside it log and notes. */
  readonly dataDir: string;
  /** Default: the port of the last start of this data, when it is free; else a free one. */
  readonly port?: number;
  /** Append-only file; default true, with a flush each second. */
  readonly appendOnly?: boolean;
  /** Added to the command line, e.g. `['--maxmemory', '3mb']`. */
  readonly args?: readonly string[];
  /** Default 30,000. */
  readonly startTimeoutMs?: number;
}

/**
 * Starts redis-server or valkey-server on loopback, without eviction, and resolves when it answers PING. The server ends
 * with this process. Throws SERVER_START_FAILED with the end of its log.
 */
export async function startRedis(binary: string, options: RedisOptions): Promise<PrivateServer> {
  const { dataDir, appendOnly = true, args = [], startTimeoutMs = 30_000 } = options;
  const dir = join(dataDir, 'redis');
  const noteFile = join(dataDir, 'redis.json');
  await mkdir(dir, { recursive: true });
  const port = options.port ?? (await choosePort(noteFile));
  const start = async (): Promise<ServerProcess> => {
    const running = await launch({
      name: 'Redis',
      binary,
      args: [
        ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--maxmemory-policy', 'noeviction'],
        ...['--appendonly', appendOnly ? 'yes' : 'no', '--appendfsync', 'everysec', '--save', ''],
        ...args,
      ],
      port,
      logFile: join(dataDir, 'redis.log'),
      noteFile,
      stopGraceMs: STOP_GRACE_MS,
    });
    try {
      await untilPong(running, port, startTimeoutMs);
      return running;
    } catch (error) {
      await running.kill();
      throw error;
    }
  };
  return privateServer(`redis://127.0.0.1:${port}`, port, dataDir, await start(), start);
}

async function untilPong(running: ServerProcess, port: number, timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ping(port);
    if (answer.startsWith('+PONG')) return;
    if (running.hasExited()) {
      throw new MillraceError('SERVER_START_FAILED', endedAtStart('Redis', await running.logTail()));
    }
    if (Date.now() > deadline) throw notInTime('Redis', port, answer);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** The raw answer; while the append-only file loads it is an error that says so. */
function ping(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const finish = (answer: string) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => finish('no answer'));
    socket.on('error', (error) => finish(error.message));
    socket.on('connect', () => socket.write('PING\r\n'));
    socket.on('data', (chunk) => finish(chunk.toString('utf8').trim()));
  });
}
