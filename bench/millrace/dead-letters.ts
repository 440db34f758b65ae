import { module, NonRetryableError, type RunningApp, start } from 'millrace';
import { MongoClient } from 'mongodb';
import { account } from '../../examples/bank/account.ts';
import { accountView, balances } from '../../examples/bank/balances.ts';
import { accountId, environment, OWNER } from '../lib/append-contender.ts';
import { serve } from '../lib/serve.ts';
import { settings } from './bank.ts';

/** A worker whose projector fails for some accounts: what that costs the others, and how fast dead letters are healed. */
const client = await new MongoClient(environment('MONGODB_URL')).connect();
const db = client.db(environment('MONGODB_DATABASE'));
const events = db.collection<{ _id: number }>('events');
const partitions = db.collection<{ consumer: string; generation: number; checkpoint: number }>('partitions');
const deadLetters = db.collection<{ generation: number; state: string }>('dead_letters');

const AT_ONCE = 256;
const LEVEL_MAX_MS = 120_000;
let version = 1;
let eventCount = 0;

/** The bank whose projector fails at every event of the accounts that are bad. */
const bankWith = (options: {
  readonly version: number;
  readonly bad: (id: string) => boolean;
  readonly fatal?: boolean;
}) => {
  const failing: typeof balances = {
    ...balances,
    version: options.version,
    project: (doc, event, key) => {
      if (!options.bad(event.stream.id)) return balances.project(doc, event, key);
      throw options.fatal ? new NonRetryableError('cannot count this one') : new Error('cannot count this one');
    },
  };
  return module({ name: 'bank', parts: [account, accountView, failing] });
};

async function until(what: string, done: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + LEVEL_MAX_MS;
  while (!(await done())) {
    if (performance.now() > endMs) throw new Error(`not in ${LEVEL_MAX_MS / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function level(generation: number): Promise<boolean> {
  const found = await partitions.find({ consumer: 'balances', generation }).toArray();
  return found.length > 0 && Math.min(...found.map(({ checkpoint }) => checkpoint)) >= eventCount;
}

/** Seconds from the start of a worker until `done`. */
async function timed(
  modules: Parameters<typeof start>[0]['modules'],
  what: string,
  done: (app: RunningApp) => Promise<boolean>,
): Promise<number> {
  const startMs = performance.now();
  const app = await start({ modules, role: 'worker', settings: settings() });
  try {
    await until(what, () => done(app));
    return (performance.now() - startMs) / 1000;
  } finally {
    await app.stop();
  }
}

serve(
  {
    /** Opens `keyCount` accounts and pays into each `depositCount` times. */
    async prepare({ keyCount, depositCount }: { readonly keyCount: number; readonly depositCount: number }) {
      const app = await start({
        modules: [bankWith({ version, bad: () => false })],
        role: 'gateway',
        settings: settings(),
      });
      let next = 0;
      const slot = async () => {
        for (let i = next++; i < keyCount * (depositCount + 1); i = next++) {
          const id = accountId(i % keyCount);
          const command =
            i < keyCount
              ? { type: 'OpenAccount' as const, data: OWNER }
              : { type: 'Deposit' as const, data: { amount: 1 } };
          const outcome = await app.send(account, id, command);
          if (outcome.kind !== 'accepted') throw new Error(`${id}: ${JSON.stringify(outcome)}`);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, slot));
      await app.stop();
      eventCount = keyCount * (depositCount + 1);
      await timed([bankWith({ version, bad: () => false })], 'the log is level', () => level(version));
    },
    /** A new version over the whole log; `badShare` of the keys fail. Events of healthy keys a second. */
    async handle(badShare: number): Promise<number> {
      version += 1;
      const every = badShare === 0 ? 0 : Math.round(1 / badShare);
      const bad = (id: string): boolean => every > 0 && Number(id.slice(4)) % every === 0;
      const seconds = await timed([bankWith({ version, bad })], 'healthy keys are level', () => level(version));
      return (eventCount * (1 - badShare)) / seconds;
    },
    /** All keys dead, then mended code and a retry of all: events a second, the failed and the parked ones. */
    async retryAll(): Promise<{ readonly perSecond: number; readonly grownBytes: number }> {
      version += 1;
      const generation = version;
      const healthyBytes = await heapWhenLevel([bankWith({ version, bad: () => false })], () => level(generation));
      version += 1;
      const dead = version;
      const failing = [bankWith({ version, bad: () => true, fatal: true })];
      const keyCount = (await events.distinct('stream')).length;
      const deadCount = () => deadLetters.countDocuments({ generation: dead, state: 'DEAD' });
      const blockedBytes = await heapWhenLevel(
        failing,
        async () => (await level(dead)) && (await deadCount()) === keyCount,
      );
      const grownBytes = (blockedBytes - healthyBytes) / keyCount;
      const mended = [bankWith({ version, bad: () => false })];
      const app = await start({ modules: mended, role: 'all', settings: settings() });
      try {
        const startMs = performance.now();
        const call = { actor: 'bench', reason: 'the code is mended' };
        await app.runtime.operators.retryDeadLetters({ consumer: 'balances' }, 10_000, call);
        // One is as good as all, and finding it costs the server nothing.
        await until('all are healed', async () => (await deadLetters.findOne({ generation: dead })) === null);
        return { perSecond: eventCount / ((performance.now() - startMs) / 1000), grownBytes };
      } finally {
        await app.stop();
      }
    },
  },
  () => client.close(),
);

/** Bytes in use by this process, after a garbage collection, while a worker of these modules is where it should be. */
async function heapWhenLevel(
  modules: Parameters<typeof start>[0]['modules'],
  done: () => Promise<boolean>,
): Promise<number> {
  let usedBytes = 0;
  await timed(modules, 'level', async () => {
    if (!(await done())) return false;
    globalThis.gc?.();
    usedBytes = process.memoryUsage().heapUsed;
    return true;
  });
  return usedBytes;
}
