import { Redis } from 'ioredis';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../logger.ts';

/** Oldest Redis that BullMQ recommends. Valkey counts by the Redis version that it speaks. */
export const REDIS_MIN_VERSION = '6.2';

/**
 * The connections of one process. Not here: anything that must survive; Redis carries wake-ups and hints only.
 * Who asked for a connection uses it; `close` closes them all.
 */
export interface RedisConnections {
  /** Fails at once while Redis is away; for commands nobody may wait for. */
  readonly producer: Redis;
  /** A new connection that waits for Redis as long as it takes; for subscribers and BullMQ workers. */
  patient(): Redis;
  /** False while Redis is away. */
  available(): boolean;
  close(): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 5_000;
const COMMAND_TIMEOUT_MS = 2_000;
const reconnectDelayMs = (times: number): number => Math.min(50 * 2 ** Math.min(times, 10), 1_000);

/**
 * Connects and checks the server. Throws REDIS_UNREACHABLE, REDIS_TOO_OLD or REDIS_EVICTS with cause and cure.
 * Afterwards an absent Redis is logged once and waited for; nothing throws.
 */
export async function connectRedis(url: string, logger: Logger): Promise<RedisConnections> {
  const producer = new Redis(url, {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    retryStrategy: reconnectDelayMs,
  });
  let lastError: unknown;
  const remember = (error: unknown): void => {
    lastError = error;
  };
  producer.on('error', remember);
  try {
    await producer.connect();
    await checkServer(producer, url);
  } catch (error) {
    producer.disconnect();
    throw error instanceof MillraceError ? error : unreachable(url, lastError ?? error);
  }
  const stopReporting = reportAbsence(producer, logger);

  const connections = new Set<Redis>([producer]);
  return {
    producer,
    patient() {
      const connection = new Redis(url, {
        maxRetriesPerRequest: null,
        connectTimeout: CONNECT_TIMEOUT_MS,
        retryStrategy: reconnectDelayMs,
      });
      connection.on('error', () => undefined);
      connections.add(connection);
      return connection;
    },
    available: () => producer.status === 'ready',
    async close() {
      stopReporting();
      for (const connection of connections) connection.disconnect();
    },
  };
}

/** ioredis reports each failed attempt; one line when Redis goes and one when it comes back are enough. */
function reportAbsence(producer: Redis, logger: Logger): () => void {
  let away = false;
  const onClose = (): void => {
    if (!away) logger.warn('Redis is away: wake-ups and hints wait, commands go on');
    away = true;
  };
  producer.on('close', onClose);
  producer.on('ready', () => {
    if (away) logger.info('Redis is back');
    away = false;
  });
  return () => producer.off('close', onClose);
}

async function checkServer(redis: Redis, url: string): Promise<void> {
  const info = await redis.info();
  const field = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  const version = field('redis_version') ?? '';
  if (isOlder(version, REDIS_MIN_VERSION)) {
    throw new MillraceError(
      'REDIS_TOO_OLD',
      `Redis at ${hostOf(url)} is version ${version || 'unknown'}. Millrace needs ${REDIS_MIN_VERSION} or newer.`,
    );
  }
  const policy = field('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    throw new MillraceError(
      'REDIS_EVICTS',
      `Redis at ${hostOf(url)} has maxmemory-policy "${policy}" and may drop jobs when memory is short. Set \`maxmemory-policy noeviction\` in redis.conf (or CONFIG SET maxmemory-policy noeviction).`,
    );
  }
}

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [minMajor = 0, minMinor = 0] = than.split('.').map(Number);
  return !(major > minMajor || (major === minMajor && minor >= minMinor));
}

const hostOf = (url: string): string => {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
};

function unreachable(url: string, cause: unknown): MillraceError {
  const reason = cause instanceof Error ? cause.message || cause.name : String(cause);
  return new MillraceError(
    'REDIS_UNREACHABLE',
    `Redis at ${hostOf(url)} cannot be reached: ${reason}. Check REDIS_URL, that the server runs, and its user and password.`,
    { cause },
  );
}
