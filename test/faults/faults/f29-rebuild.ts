import { createHash } from 'node:crypto';
import { expectEqual, type Fault } from '../harness/fault.ts';
import { redisCommand, underLoad, untilShown } from '../harness/moments.ts';
import type { RoleProcess } from '../harness/processes.ts';
import type { Stage } from '../harness/stage.ts';

const VIEWS = ['view_account_g1', 'view_movement_g1', 'view_transfer_g1'] as const;
const CONSUMERS = ['balances', 'statement', 'transfers'];

export const rebuild: Fault = {
  id: 'F29',
  title:
    '10,000 events are replayed: by resets, also while commands come, and after the loss of views, partitions and Redis',
  target: 'the same state as before; > 2,000 events/s',
  profiles: ['production'],
  timeoutMs: 240_000,
  async run(stage, size) {
    const { gateways, workers } = await stage.populate({ gateways: 2, workers: 2, accounts: 100 });
    await deposits(stage, size === 'brief' ? 1_000 : 10_000);
    await stage.drained(60_000);
    const incremental = await stateHash(stage);
    for (const name of CONSUMERS) await reset(stage, name);
    await stage.drained(60_000);
    expectEqual('hash of the state after a reset', await stateHash(stage), incremental);
    await underLoad(stage, { perSecond: 100 }, async () => {
      for (const name of CONSUMERS) await reset(stage, name);
      await untilShown(stage);
    });
    await stage.drained(60_000);
    const before = await stateHash(stage);
    const end = await stage.store.log.end();
    await forget(stage, [...gateways, ...workers]);
    await Promise.all([
      stage.start('worker'),
      stage.start('worker'),
      ...gateways.map(({ port }) => stage.start('gateway', { port })),
    ]);
    const begun = performance.now();
    await untilShown(stage);
    const drainMs = await stage.drained(60_000);
    const tookMs = performance.now() - begun;
    expectEqual('hash of the state after the loss', await stateHash(stage), before);
    const perSecond = Math.round((end * 1_000) / tookMs);
    if (size === 'full' && perSecond < 2_000) throw new Error(`${perSecond} events/s, more than 2,000 is the target`);
    return { events: end, 'replayed in ms': Math.round(tookMs), 'events/s': perSecond, 'drain ms': drainMs };
  },
};

async function deposits(stage: Stage, count: number): Promise<void> {
  const { clients, random } = stage;
  let left = count;
  const client = async (_: unknown, index: number): Promise<void> => {
    while (left-- > 0) await clients.command(index, 'deposit', random.pick(clients.accounts), 1 + random.below(9));
  };
  await Promise.all(Array.from({ length: 64 }, client));
}

/** Without what counts transactions (revisions) and resets (versions), and not events. */
async function stateHash(stage: Stage): Promise<string> {
  const hash = createHash('sha256');
  for (const view of VIEWS) {
    const projection = { _revision: 0, _version: 0, '_origins.revision': 0 };
    const found = stage.db.collection(view).find({}, { projection, sort: { _id: 1 } });
    for await (const document of found) hash.update(JSON.stringify(document));
  }
  return hash.digest('hex');
}

/** While everybody runs. */
async function reset(stage: Stage, name: string): Promise<void> {
  const operate = (field: string, more = '') =>
    stage.clients.ask(0, `mutation { ${field}(name: "${name}"${more}, reason: "F29") { __typename } }`, {});
  await operate('pauseConsumer');
  await stage.checkpoints.lookAway(() => operate('resetConsumer', ', to: { start: true }'));
  stage.forgetShown();
  await operate('resumeConsumer');
}

/** Nobody runs meanwhile. */
async function forget(stage: Stage, running: readonly RoleProcess[]): Promise<void> {
  await Promise.all(running.map((one) => one.kill()));
  await stage.checkpoints.lookAway(async () => {
    for (const view of VIEWS) await stage.db.collection(view).deleteMany({});
    await stage.db.collection('partitions').deleteMany({ consumer: { $in: CONSUMERS } });
    await stage.db.collection('consumers').deleteMany({ consumer: { $in: CONSUMERS } });
  });
  stage.forgetShown();
  await redisCommand(stage, 'FLUSHALL');
}
