import { z } from 'zod';
import { type ArmedCrash, parseCrash } from './crash-points.ts';
import { MillraceError } from './errors.ts';

const flag = z.enum(['true', 'false', '1', '0']).transform((value) => value === 'true' || value === '1');
const wholeNumber = (min: number, max: number) => z.coerce.number().int().min(min).max(max);
const list = z.string().transform((value) =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
);

/** The environment, by name. Every setting has a default but the two URLs. */
export const environmentSchema = z.object({
  NODE_ENV: z.string().default('development').describe('"production" turns development conveniences off'),
  MONGODB_URL: z
    .string()
    // Not a URL as others are: several hosts, each with its port.
    .regex(/^mongodb(\+srv)?:\/\/[^\s/?#]+([/?]\S*)?$/, 'must be mongodb://host[:port][,…]/ or mongodb+srv://host/')
    .describe('MongoDB replica set, e.g. mongodb://db1,db2,db3/?replicaSet=rs0'),
  MONGODB_DATABASE: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,38}$/)
    .default('millrace')
    .describe('database that holds everything'),
  REDIS_URL: z.url({ protocol: /^rediss?$/ }).describe('Redis or Valkey with maxmemory-policy noeviction'),
  REDIS_PREFIX: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,38}$/)
    .default('millrace')
    .describe('prefix of every key and channel'),
  MILLRACE_LOG_ID: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,32}$/)
    .default('main')
    .describe('name of the log; there is one a database'),
  HOST: z.string().default('127.0.0.1').describe('address to listen on; containers need 0.0.0.0'),
  PORT: wholeNumber(0, 65_535).default(4000).describe('port of the gateway; 0 takes a free one'),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).default('info'),
  LOG_PRETTY: flag.optional().describe('default: true at a terminal'),
  ALLOWED_ORIGINS: list
    .default([])
    .describe('browser origins that may call the gateway, comma-separated; default: its own only'),
  SOCKETS_PER_CLIENT_MAX: wholeNumber(1, 1_000_000)
    .default(10_000)
    .describe('sockets of one client (address) at one gateway'),
  SUBSCRIPTIONS_PER_CLIENT_MAX: wholeNumber(1, 10_000_000)
    .default(50_000)
    .describe('subscriptions of one client (address) at one gateway, on sockets and streams together'),
  COMMAND_TIMEOUT_MS: wholeNumber(100, 120_000)
    .default(10_000)
    .describe('after this an unknown outcome is told to the client'),
  COMMAND_DATA_MAX_BYTES: wholeNumber(1, 1_000_000).default(65_536),
  COMMAND_MAX_DEPTH: wholeNumber(1, 100_000).default(100).describe('commands of sagas that may lead to one another'),
  COMMIT_MAX_EVENTS: wholeNumber(1, 10_000).default(1_000),
  COMMIT_MAX_BYTES: wholeNumber(1, 12_000_000).default(4_000_000),
  REJECTION_TTL_S: wholeNumber(1, 31_536_000)
    .default(86_400)
    .describe('how long a refused commandId keeps its refusal'),
  AGGREGATE_CACHE_COUNT: wholeNumber(0, 10_000_000).default(20_000).describe('aggregate states kept in memory'),
  AT_LEAST_TIMEOUT_MS: wholeNumber(0, 60_000)
    .default(5_000)
    .describe('default wait of reads with atLeast, and of commands for inline views'),
  HISTORY_MAX_EVENTS: wholeNumber(1, 10_000_000)
    .default(10_000)
    .describe('events that one question about the past of a document, or a read of a live one, may fold'),
  JOB_LOCK_MS: wholeNumber(500, 600_000).default(5_000).describe('BullMQ job lock'),
  JOB_STALLED_CHECK_MS: wholeNumber(250, 600_000).default(2_000).describe('BullMQ stalled check'),
  SWEEP_INTERVAL_MS: wholeNumber(100, 60_000).default(1_000),
  DRAIN_WINDOW_MS: wholeNumber(0, 600_000)
    .default(4_000)
    .describe('on SIGTERM a gateway closes its sockets and streams spread over this time'),
  READY_AFTER: list
    .default([])
    .describe('projectors, comma-separated, or "all": /ready answers 503 until their own version is read'),
  SHUTDOWN_TIMEOUT_MS: wholeNumber(100, 60_000).default(8_000).describe('jobs in hand get this long on SIGTERM'),
  MILLRACE_CRASH: z
    .string()
    .optional()
    .describe('for tests: ends this process at a named place of the code; refused in production'),
});

export interface Settings {
  readonly production: boolean;
  readonly mongodb: { readonly url: string; readonly database: string };
  readonly redis: { readonly url: string; readonly prefix: string };
  readonly logId: string;
  readonly http: { readonly host: string; readonly port: number; readonly allowedOrigins: readonly string[] };
  /** Of one gateway. */
  readonly perClient: { readonly socketsMaxCount: number; readonly subscriptionsMaxCount: number };
  readonly log: { readonly level: z.output<typeof environmentSchema>['LOG_LEVEL']; readonly pretty: boolean };
  readonly command: {
    readonly timeoutMs: number;
    readonly dataMaxBytes: number;
    readonly rejectionTtlS: number;
    readonly maxDepth: number;
  };
  readonly commit: { readonly maxEvents: number; readonly maxBytes: number };
  readonly aggregateCacheCount: number;
  readonly atLeastTimeoutMs: number;
  readonly historyMaxEvents: number;
  readonly job: { readonly lockMs: number; readonly stalledCheckMs: number };
  readonly sweepIntervalMs: number;
  /** Comes before `shutdownTimeoutMs`, and only where there are sockets or streams to close. */
  readonly drainWindowMs: number;
  readonly shutdownTimeoutMs: number;
  /** Projectors whose own version must be read before this process is ready; `all`: every one. Default none. */
  readonly readyAfter?: readonly string[];
  /** For tests: where this process is to die. */
  readonly crash?: ArmedCrash | undefined;
}

/** Parses the environment once. Throws SETTINGS_INVALID that names every bad variable, why, and what it is for. */
export function readSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  const given = Object.fromEntries(
    Object.keys(environmentSchema.shape).map((name) => [
      name,
      environment[name] === '' ? undefined : environment[name],
    ]),
  );
  const parsed = environmentSchema.safeParse(given);
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => {
      const name = String(issue.path[0]);
      const about = Object.entries(environmentSchema.shape).find(([key]) => key === name)?.[1].description;
      const cause = given[name] === undefined ? 'is missing' : issue.message;
      return `  ${name}: ${cause}${about === undefined ? '' : ` (${about})`}`;
    });
    throw new MillraceError('SETTINGS_INVALID', `The settings in the environment cannot be used:\n${lines.join('\n')}`);
  }
  const env = parsed.data;
  const crash = env.MILLRACE_CRASH === undefined ? undefined : parseCrash(env.MILLRACE_CRASH);
  if (crash !== undefined && env.NODE_ENV === 'production') {
    throw new MillraceError(
      'SETTINGS_INVALID',
      'MILLRACE_CRASH is set and NODE_ENV is "production": a process that kills itself is for tests. Unset MILLRACE_CRASH.',
    );
  }
  return {
    production: env.NODE_ENV === 'production',
    mongodb: { url: env.MONGODB_URL, database: env.MONGODB_DATABASE },
    redis: { url: env.REDIS_URL, prefix: env.REDIS_PREFIX },
    logId: env.MILLRACE_LOG_ID,
    http: { host: env.HOST, port: env.PORT, allowedOrigins: env.ALLOWED_ORIGINS },
    perClient: { socketsMaxCount: env.SOCKETS_PER_CLIENT_MAX, subscriptionsMaxCount: env.SUBSCRIPTIONS_PER_CLIENT_MAX },
    log: {
      level: env.LOG_LEVEL,
      pretty: env.LOG_PRETTY ?? (env.NODE_ENV !== 'production' && process.stdout.isTTY === true),
    },
    command: {
      timeoutMs: env.COMMAND_TIMEOUT_MS,
      dataMaxBytes: env.COMMAND_DATA_MAX_BYTES,
      rejectionTtlS: env.REJECTION_TTL_S,
      maxDepth: env.COMMAND_MAX_DEPTH,
    },
    commit: { maxEvents: env.COMMIT_MAX_EVENTS, maxBytes: env.COMMIT_MAX_BYTES },
    aggregateCacheCount: env.AGGREGATE_CACHE_COUNT,
    atLeastTimeoutMs: env.AT_LEAST_TIMEOUT_MS,
    historyMaxEvents: env.HISTORY_MAX_EVENTS,
    job: { lockMs: env.JOB_LOCK_MS, stalledCheckMs: env.JOB_STALLED_CHECK_MS },
    sweepIntervalMs: env.SWEEP_INTERVAL_MS,
    drainWindowMs: env.DRAIN_WINDOW_MS,
    shutdownTimeoutMs: env.SHUTDOWN_TIMEOUT_MS,
    readyAfter: env.READY_AFTER,
    crash,
  };
}
