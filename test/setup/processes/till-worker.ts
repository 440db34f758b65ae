/** MONGO_URL REDIS_URL DATABASE PREFIX NETWORK_URL: a worker that charges cards. Prints "ready" when it runs. */
import { module } from '../../../src/index.ts';
import { createLogger } from '../../../src/logger.ts';
import { readSettings } from '../../../src/settings.ts';
import { startApp } from '../../../src/start.ts';
import { tillParts } from '../till-parts.ts';

const [mongoUrl, redisUrl, database, prefix, networkUrl = ''] = process.argv.slice(2);
await startApp({
  modules: [module({ name: 'shop', parts: tillParts(networkUrl) })],
  role: 'worker',
  settings: readSettings({
    MONGODB_URL: mongoUrl,
    REDIS_URL: redisUrl,
    MONGODB_DATABASE: database,
    REDIS_PREFIX: prefix,
  }),
  logger: createLogger({ level: 'silent', pretty: false }),
});
process.stdout.write('ready\n');
