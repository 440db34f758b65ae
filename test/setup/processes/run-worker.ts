/**
 * MONGO_URL REDIS_URL DATABASE PREFIX [DEADLY]: a worker process with production settings. Prints "ready" when it runs. Counting
 * DEADLY kills it, as a handler may that runs out of memory.
 */
import { productionTiming, startTestWorker } from '../test-worker.ts';

const [mongoUrl = '', redisUrl = '', database = '', prefix = '', deadly = ''] = process.argv.slice(2);
const kill = (): true => process.kill(process.pid, 'SIGKILL');
const bug = { breaks: ({ by }: { readonly by: number }) => by === Number(deadly) && kill() };
await startTestWorker({ servers: { mongoUrl, redisUrl, database, prefix }, timing: productionTiming, bug });
process.stdout.write('ready\n');
