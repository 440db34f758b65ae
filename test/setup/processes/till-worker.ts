/** ROLE MONGO_URL REDIS_URL DATABASE PREFIX NETWORK_URL: a process that charges cards. Prints its address, or "ready", when it runs. */
import { createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { module } from '../../../src/index.ts';
import { createLogger } from '../../../src/logger.ts';
import { readSettings } from '../../../src/settings.ts';
import { startApp } from '../../../src/start.ts';
import { sumAggregate } from '../sum-aggregate.ts';
import { tillParts } from '../till-parts.ts';

const [role, mongoUrl, redisUrl, database, prefix, networkUrl = ''] = process.argv.slice(2);
const bug = { throwsCount: 0, decidedCount: 0, killsAt: 666 };
const shop = module({ name: 'shop', parts: [...tillParts(networkUrl), sumAggregate(bug)] });
const builder = createSchemaBuilder();
exposeModule(builder, shop);
const app = await startApp({
  modules: [shop],
  role: role === 'all' ? 'all' : 'worker',
  schema: builder.toSchema(),
  settings: readSettings({
    ...process.env,
    MONGODB_URL: mongoUrl,
    REDIS_URL: redisUrl,
    MONGODB_DATABASE: database,
    REDIS_PREFIX: prefix,
    PORT: '0',
  }),
  logger: createLogger({ level: 'silent', pretty: false }),
});
process.stdout.write(`${app.url ?? 'ready'}\n`);
