import { type RunningApp, start } from 'millrace';
import { MongoClient } from 'mongodb';
import { environment } from '../lib/append-contender.ts';
import { ACCOUNT_COUNT } from '../lib/options.ts';
import { serve } from '../lib/serve.ts';
import { accountsOnly, bankAtVersion, deposit, openAccounts, settings, startBank } from './bank.ts';

/** Millrace's own way through the log, by its public API; positions and checkpoints are read by the bare driver. */
const client = await new MongoClient(environment('MONGODB_URL')).connect();
const db = client.db(environment('MONGODB_DATABASE'));
const events = db.collection<{ _id: number }>('events');
const partitions = db.collection<{ consumer: string; generation: number; checkpoint: number }>('partitions');
const APPENDS_AT_ONCE = 256;

let appended = 0;
let version = 1;

const logEnd = async (): Promise<number> => (await events.findOne({}, { sort: { _id: -1 } }))?._id ?? 0;
/** The position that every partition of this generation has reached. */
async function level(generation: number): Promise<number> {
  const found = await partitions.find({ consumer: 'balances', generation }).toArray();
  return found.length === 0 ? 0 : Math.min(...found.map(({ checkpoint }) => checkpoint));
}

/** Resolves with the seconds from the first progress that was seen to `end`, and the count made in them. */
async function follow(progress: () => Promise<number>, from: number, end: number) {
  let start: { readonly atMs: number; readonly position: number } | undefined;
  for (;;) {
    const position = await progress();
    if (position > from) start ??= { atMs: performance.now(), position };
    if (start !== undefined && position >= end) {
      return { count: end - start.position, seconds: (performance.now() - start.atMs) / 1000 };
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function stopAfter<T>(app: RunningApp, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    await app.stop();
  }
}

async function append(count: number): Promise<void> {
  const app = await startBank({ role: 'gateway', door: false });
  await stopAfter(app, async () => {
    let left = count;
    if (appended === 0) {
      await openAccounts(app, { shown: false });
      left -= ACCOUNT_COUNT;
    }
    const slot = async () => {
      while (left > 0) {
        left -= 1;
        await deposit(app, left % ACCOUNT_COUNT);
      }
    };
    await Promise.all(Array.from({ length: APPENDS_AT_ONCE }, slot));
    appended += count;
  });
}

const place = async (count: number): Promise<number> => {
  await append(count);
  const from = await logEnd();
  const app = await start({ modules: [accountsOnly], role: 'worker', settings: settings() });
  return stopAfter(app, async () => {
    const { count: placed, seconds } = await follow(logEnd, from, appended);
    return placed / seconds;
  });
};

serve(
  {
    /** Lets the sequencer save the place in the change stream from which every round goes on. */
    prepare: () => place(ACCOUNT_COUNT),
    /** Commits are appended first, uncounted; then a worker without consumers places them. Per second, from its first batch on. */
    place,
    /** Every event as a subscriber of `events` gets it, without GraphQL. */
    async scan(): Promise<number> {
      const app = await startBank({ role: 'gateway', door: false });
      return stopAfter(app, async () => {
        const [first] = (await app.runtime.events({}, { first: 1 })).edges;
        if (first === undefined) throw new Error('the log is empty');
        const leave = new AbortController();
        const startMs = performance.now();
        let last = 1;
        for await (const { signal, event } of app.runtime.watchEvents({}, first.cursor, leave.signal)) {
          if (signal === 'CAUGHT_UP') break;
          if (event === null) continue;
          if (event.position !== last + 1) throw new Error(`position ${event.position} where ${last + 1} was expected`);
          last = event.position;
        }
        leave.abort();
        if (last !== appended) throw new Error(`${last} events read of ${appended}`);
        return (last / (performance.now() - startMs)) * 1000;
      });
    },
    /** A worker with the projector's next version; from its start to the last partition's checkpoint. */
    async rebuild(): Promise<number> {
      version += 1;
      const startMs = performance.now();
      const app = await start({ modules: [bankAtVersion(version)], role: 'worker', settings: settings() });
      return stopAfter(app, async () => {
        while ((await level(version)) < appended) await new Promise((resolve) => setTimeout(resolve, 20));
        return (appended / (performance.now() - startMs)) * 1000;
      });
    },
  },
  () => client.close(),
);
