/** MONGO_URL REDIS_URL DATABASE PREFIX: a worker process with production settings. Prints "ready" when it runs. */
import { productionTiming, startTestWorker } from '../test-worker.ts';

const [mongoUrl = '', redisUrl = '', database = '', prefix = ''] = process.argv.slice(2);
await startTestWorker({ servers: { mongoUrl, redisUrl, database, prefix }, timing: productionTiming });
process.stdout.write('ready\n');
