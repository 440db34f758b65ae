import { afterAll, beforeAll } from 'vitest';
import { type Module, type RunningApp, readSettings, start } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import { testServers } from './servers.ts';

/** Apps on one database of their own, all roles in this process. Stopped and removed after the file's tests. */
export interface SagaApps {
  start(module: Module): Promise<RunningApp>;
  readonly db: Connection['db'];
}

export function sagaApps(): SagaApps {
  const { mongoUrl, redisUrl, database, prefix } = testServers();
  const apps: RunningApp[] = [];
  let connection: Connection | undefined;
  beforeAll(async () => {
    connection = await connect({ url: mongoUrl, database, appName: 'test' });
  });
  afterAll(async () => {
    for (const app of apps) await app.stop();
    await connection?.db.dropDatabase().catch(() => undefined);
    await connection?.client.close();
  });
  return {
    get db() {
      if (connection === undefined) throw new Error('ask in a test, not before');
      return connection.db;
    },
    async start(module) {
      const settings = readSettings({
        MONGODB_URL: mongoUrl,
        MONGODB_DATABASE: database,
        REDIS_URL: redisUrl,
        REDIS_PREFIX: prefix,
        COMMAND_MAX_DEPTH: '20',
      });
      const logger = createLogger({ level: process.env.TEST_LOG === '1' ? 'debug' : 'silent', pretty: false });
      const app = await start({ modules: [module], settings, logger });
      apps.push(app);
      return app;
    },
  };
}
