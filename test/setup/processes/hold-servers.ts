/** DATA_DIR: provides both servers, prints their process ids as a line of JSON, and stays. */
import { provideServers } from '../../../src/services/index.ts';

const [dataDir = ''] = process.argv.slice(2);
const servers = await provideServers({ dataDir, env: { ...process.env, MONGODB_URL: '', REDIS_URL: '' } });
const { mongo, redis } = servers;
process.stdout.write(`${JSON.stringify({ mongo: mongo.pid, redis: redis.pid })}\n`);
setInterval(() => undefined, 60_000);
