/**
 * MONGO_URL REDIS_URL DATABASE PREFIX URL [DEADLY]: a worker process that sends the counters' events to a URL; an event that counts
 * DEADLY kills it. Prints "ready" when it runs.
 */
import { productionTiming, startTestWorker } from '../test-worker.ts';
import { webhookModules } from '../webhook-modules.ts';

const [mongoUrl = '', redisUrl = '', database = '', prefix = '', url = '', deadly] = process.argv.slice(2);
const modules = webhookModules({
  url,
  data: ({ data }) => {
    if ('by' in data && String(data.by) === deadly) process.kill(process.pid, 'SIGKILL');
    return data;
  },
});
await startTestWorker({ servers: { mongoUrl, redisUrl, database, prefix }, timing: productionTiming, modules });
process.stdout.write('ready\n');
