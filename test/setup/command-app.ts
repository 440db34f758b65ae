import { createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { afterAll } from 'vitest';
import { type Module, module } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { readSettings } from '../../src/settings.ts';
import { type RunningApp, startApp } from '../../src/start.ts';
import { patient } from './patient.ts';
import type { TestServers } from './servers.ts';

/** Fast where production is slow. */
export const quick = { SWEEP_INTERVAL_MS: '250', JOB_LOCK_MS: '1000', JOB_STALLED_CHECK_MS: '500' };

const started: RunningApp[] = [];
afterAll(async () => {
  await Promise.all(started.map((app) => app.stop()));
});

/** One process of a deployment with this part, stopped after the file's tests. */
export async function startCommandApp(
  servers: TestServers,
  parts: Module['parts'],
  options: { readonly role?: 'all' | 'gateway' | 'worker'; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<RunningApp> {
  const settings = readSettings({
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    PORT: '0',
    ...patient,
    ...quick,
    ...options.env,
  });
  const counting = module({ name: 'counting', parts });
  const builder = createSchemaBuilder();
  exposeModule(builder, counting);
  const app = await startApp({
    modules: [counting],
    schema: builder.toSchema(),
    role: options.role ?? 'all',
    settings,
    logger: createLogger({ level: process.env.TEST_LOG === '1' ? 'debug' : 'silent', pretty: false }),
  });
  started.push(app);
  return app;
}
