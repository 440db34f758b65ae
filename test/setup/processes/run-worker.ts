/**
 * MONGO_URL REDIS_URL DATABASE PREFIX [DEADLY [FAILING]]: a worker process with production settings, and MILLRACE_CRASH of its
 * environment. Prints "ready" when it runs. Counting DEADLY kills it, as a handler may that runs out of memory; counting FAILING
 * fails.
 */
import { armCrash, parseCrash } from '../../../src/crash-points.ts';
import { productionTiming, startTestWorker } from '../test-worker.ts';

const [mongoUrl = '', redisUrl = '', database = '', prefix = '', deadly = '', failing = ''] = process.argv.slice(2);
const kill = (): true => process.kill(process.pid, 'SIGKILL');
const bug = {
  breaks: ({ by }: { readonly by: number }) => (by === Number(deadly) && kill()) || by === Number(failing),
};
const { MILLRACE_CRASH } = process.env;
if (MILLRACE_CRASH !== undefined) armCrash(parseCrash(MILLRACE_CRASH));
await startTestWorker({ servers: { mongoUrl, redisUrl, database, prefix }, timing: productionTiming, bug });
process.stdout.write('ready\n');
