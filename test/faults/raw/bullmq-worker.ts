/**
 * A BullMQ worker as its documentation shows it: `node bullmq-worker.ts REDIS_URL MONGODB_URL QUEUE`. Says "begun ID" and, when
 * the effect of a job is in MongoDB, "done ID".
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { MongoClient } from 'mongodb';

const [redisUrl = '', mongodbUrl = '', queue = ''] = process.argv.slice(2);
const client = await MongoClient.connect(mongodbUrl);
const effects = client.db(queue).collection('effects');
const say = (text: string): void => void process.stdout.write(`${text}\n`);
/** Long enough to be stopped in the middle. */
const WORK_MS = 500;

const worker = new Worker(
  queue,
  async ({ id }) => {
    say(`begun ${id}`);
    await sleep(WORK_MS);
    await effects.insertOne({ job: id });
    say(`done ${id}`);
  },
  { connection: { url: redisUrl, maxRetriesPerRequest: null }, lockDuration: 1_000, stalledInterval: 500 },
);
worker.on('error', () => undefined);
