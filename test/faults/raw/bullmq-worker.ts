/**
 * A BullMQ worker as its documentation shows it: `node bullmq-worker.ts REDIS_URL MONGODB_URL QUEUE [stops]`. Says "begun ID" and, when
 * the effect of a job is in MongoDB, "done ID".
 */
import { Worker } from 'bullmq';
import { MongoClient } from 'mongodb';

const [redisUrl = '', mongodbUrl = '', queue = '', stops] = process.argv.slice(2);
const client = await MongoClient.connect(mongodbUrl);
const effects = client.db(queue).collection('effects');
const say = (text: string): void => void process.stdout.write(`${text}\n`);

const worker = new Worker(
  queue,
  async ({ id }) => {
    say(`begun ${id}`);
    // In the middle of its work, until somebody lets it go on.
    if (stops !== undefined) process.kill(process.pid, 'SIGSTOP');
    await effects.insertOne({ job: id });
    say(`done ${id}`);
  },
  { connection: { url: redisUrl, maxRetriesPerRequest: null }, lockDuration: 1_000, stalledInterval: 500 },
);
worker.on('error', () => undefined);
