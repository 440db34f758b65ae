import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { account } from '../../examples/bank/account.ts';
import { bank } from '../../examples/bank/module.ts';
import { aggregate, module } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { readSettings } from '../../src/settings.ts';
import { type RunningApp, startApp } from '../../src/start.ts';
import { connect } from '../../src/store/connect.ts';
import { patient } from '../setup/patient.ts';
import { testServers } from '../setup/servers.ts';

/** Answers commands that the bank has no case for: nothing happens, much happens, something is secret. */
const lamp = aggregate({
  name: 'lamp',
  events: { Switched: z.object({ on: z.boolean() }) },
  commands: { Switch: z.object({ on: z.boolean() }), Flicker: z.object({ count: z.int(), pin: z.string() }) },
  fields: { Flicker: { pin: { store: false } } },
  initial: () => ({ on: false }),
  evolve: { Switched: (_lamp, { on }) => ({ on }) },
  decide: {
    Switch: (state, { on }) => (state.on === on ? [] : { type: 'Switched', data: { on } }),
    Flicker: (state, { count }) =>
      Array.from({ length: count }, (_, i) => ({
        type: 'Switched' as const,
        data: { on: state.on === (i % 2 === 1) },
      })),
  },
});
const lamps = module({ name: 'lamps', parts: [lamp] });

const servers = testServers();
const apps: RunningApp[] = [];
const start = async (role: 'all' | 'gateway'): Promise<RunningApp> => {
  const settings = readSettings({
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    ...patient,
  });
  const logger = createLogger({ level: 'silent', pretty: false });
  const app = await startApp({ modules: [bank, lamps], role, settings, logger });
  apps.push(app);
  return app;
};
let a: RunningApp;
let b: RunningApp;
beforeAll(async () => {
  a = await start('all');
  b = await start('gateway');
});
afterAll(async () => {
  for (const app of apps) await app.stop();
});

const open = async (app: RunningApp, balance: number): Promise<string> => {
  const id = randomUUID();
  await app.send(account, id, { type: 'OpenAccount', data: { owner: 'Ada', currency: 'EUR' } });
  if (balance > 0) await app.send(account, id, { type: 'Deposit', data: { amount: balance } });
  return id;
};

describe('one commandId', () => {
  it('sent 100 times at once over two gateways takes effect once, with one receipt', async () => {
    const id = await open(a, 0);
    const commandId = randomUUID();
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        (i % 2 === 0 ? a : b).send(account, id, { type: 'Deposit', data: { amount: 7 } }, { commandId }),
      ),
    );
    const [first] = outcomes;
    expect(first).toMatchObject({ kind: 'accepted', version: 2 });
    for (const outcome of outcomes) expect({ ...outcome, duplicate: null }).toEqual({ ...first, duplicate: null });
    expect(outcomes.filter((outcome) => outcome.kind === 'accepted' && !outcome.duplicate)).toHaveLength(1);
    const next = await b.send(account, id, { type: 'Deposit', data: { amount: 1 } });
    expect(next).toMatchObject({ kind: 'accepted', version: 3 });
  });

  it('with other data is refused and writes nothing', async () => {
    const id = await open(a, 5);
    const commandId = randomUUID();
    await a.send(account, id, { type: 'Deposit', data: { amount: 1 } }, { commandId });
    for (const app of [a, b]) {
      const other = await app.send(account, id, { type: 'Deposit', data: { amount: 2 } }, { commandId });
      expect(other).toMatchObject({ kind: 'rejected', code: 'IDEMPOTENCY_CONFLICT' });
    }
    expect(await b.send(account, id, { type: 'Deposit', data: { amount: 1 } })).toMatchObject({ version: 4 });
  });

  it('of a creating command without an id names the same instance on every gateway', async () => {
    const commandId = randomUUID();
    const message = { type: 'OpenAccount', data: { owner: 'Bob', currency: 'USD' } } as const;
    const first = await a.send(account, undefined, message, { commandId });
    for (const app of [a, b, await start('gateway')]) {
      const again = await app.send(account, undefined, message, { commandId });
      expect(again).toEqual({ ...first, duplicate: true });
    }
  });

  it.each(['warm', 'cold'])(
    'repeated on the other gateway (%s) gets the first receipt, whatever kind it was',
    async (how) => {
      const other = how === 'warm' ? b : await start('gateway');
      const id = await open(a, 10);
      if (how === 'warm') await b.send(account, id, { type: 'Deposit', data: { amount: 1 } });
      const commandIds = Array.from({ length: 4 }, () => randomUUID());
      const expectedVersion = how === 'warm' ? 3 : 2;
      const sends = (app: RunningApp) => [
        () =>
          app.send(
            account,
            id,
            { type: 'Withdraw', data: { amount: 3 } },
            { commandId: commandIds[0]!, expectedVersion },
          ),
        () => app.send(account, id, { type: 'Withdraw', data: { amount: 999 } }, { commandId: commandIds[1]! }),
        () => app.send(lamp, id, { type: 'Switch', data: { on: false } }, { commandId: commandIds[2]! }),
        () =>
          app.send(
            account,
            id,
            { type: 'OpenAccount', data: { owner: 'E', currency: 'EUR' } },
            { commandId: commandIds[3]! },
          ),
      ];
      const firsts = [];
      for (const send of sends(a)) firsts.push(await send());
      expect(firsts).toMatchObject([
        { kind: 'accepted', version: expectedVersion + 1 },
        { kind: 'rejected', code: 'INSUFFICIENT_FUNDS' },
        { kind: 'accepted', version: null, events: [] },
        { kind: 'rejected', code: 'ALREADY_EXISTS' },
      ]);
      // What is refused now would be accepted later, and the other way round.
      await a.send(account, id, { type: 'Deposit', data: { amount: 5_000 } });
      await a.send(lamp, id, { type: 'Switch', data: { on: true } });
      for (const [index, send] of sends(other).entries()) {
        const first = firsts[index]!;
        expect(await send()).toEqual(first.kind === 'accepted' ? { ...first, duplicate: true } : first);
      }
    },
  );
});

describe('several gateways', () => {
  it('what one accepted is known to the other at once: never a refusal from stale state', async () => {
    // Beside each other: one after the other they take minutes on a busy machine.
    const rounds = async (count: number): Promise<void> => {
      const id = await open(a, 0);
      await b.send(account, id, { type: 'Withdraw', data: { amount: 1 } });
      for (let i = 0; i < count; i++) {
        const [first, second] = i % 2 === 0 ? [a, b] : [b, a];
        await first.send(account, id, { type: 'Deposit', data: { amount: 1 } });
        const outcome = await second.send(account, id, { type: 'Withdraw', data: { amount: 1 } });
        if (outcome.kind !== 'accepted') expect.fail(`round ${i}: ${JSON.stringify(outcome)}`);
      }
    };
    await Promise.all(Array.from({ length: 10 }, () => rounds(100)));
  });

  it('racing withdrawals never overdraw, and versions have no gap', async () => {
    const id = await open(a, 100);
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        (i % 2 === 0 ? a : b).send(account, id, { type: 'Withdraw', data: { amount: 7 } }),
      ),
    );
    const accepted = outcomes.filter((outcome) => outcome.kind === 'accepted');
    const refused = outcomes.filter((outcome) => outcome.kind === 'rejected');
    expect(accepted).toHaveLength(14);
    expect(refused).toHaveLength(36);
    expect(refused.every(({ code }) => code === 'INSUFFICIENT_FUNDS')).toBe(true);
    expect(accepted.map(({ version }) => version).sort((x, y) => Number(x) - Number(y))).toEqual(
      Array.from({ length: 14 }, (_, i) => i + 3),
    );
  });

  it('an expected version in the past or the future is a conflict that names what was missed', async () => {
    const id = await open(a, 5);
    const at = (expectedVersion: number) =>
      b.send(account, id, { type: 'Deposit', data: { amount: 1 } }, { expectedVersion });
    expect(await at(1)).toMatchObject({
      kind: 'conflict',
      expected: 1,
      actual: 2,
      missedEvents: [{ type: 'MoneyDeposited' }],
    });
    expect(await at(9)).toMatchObject({ kind: 'conflict', expected: 9, actual: 2, missedEvents: [] });
    expect(await at(2)).toMatchObject({ kind: 'accepted', version: 3 });
  });

  it('an expected version within a commit is a conflict that names the rest of it', async () => {
    const id = randomUUID();
    const flicker = (app: RunningApp, expectedVersion?: number) =>
      app.send(lamp, id, { type: 'Flicker', data: { count: 3, pin: '' } }, { expectedVersion });
    await flicker(a);
    await flicker(a);
    const missed = async (app: RunningApp, expectedVersion: number) => {
      const outcome = await flicker(app, expectedVersion);
      if (outcome.kind !== 'conflict') expect.fail(JSON.stringify(outcome));
      return outcome.missedEvents.map(({ stream }) => stream.version);
    };
    for (const app of [a, b]) {
      expect(await missed(app, 0)).toEqual([1, 2, 3, 4, 5, 6]);
      expect(await missed(app, 2)).toEqual([3, 4, 5, 6]);
      expect(await missed(app, 3)).toEqual([4, 5, 6]);
      expect(await missed(app, 5)).toEqual([6]);
    }
  });
});

describe('what is decided', () => {
  it('a dry run answers what would happen and writes nothing', async () => {
    const id = await open(a, 5);
    const dry = await b.send(account, id, { type: 'Withdraw', data: { amount: 5 } }, { dryRun: true });
    expect(dry).toMatchObject({ kind: 'accepted', version: 3, events: [{ type: 'MoneyWithdrawn', position: null }] });
    const refused = await b.send(account, id, { type: 'Withdraw', data: { amount: 6 } }, { dryRun: true });
    expect(refused).toMatchObject({ kind: 'rejected', code: 'INSUFFICIENT_FUNDS' });
    expect(await a.send(account, id, { type: 'Deposit', data: { amount: 1 } })).toMatchObject({ version: 3 });
  });

  it('a closed account refuses every command, on every gateway', async () => {
    const id = await open(a, 0);
    expect(await a.send(account, id, { type: 'CloseAccount', data: {} })).toMatchObject({ kind: 'accepted' });
    for (const app of [a, b, await start('gateway')]) {
      const outcome = await app.send(account, id, { type: 'Deposit', data: { amount: 1 } });
      expect(outcome).toMatchObject({ kind: 'rejected', code: 'CLOSED' });
    }
  });

  it('a commit with more events than allowed is refused whole', async () => {
    const send = a.send(lamp, randomUUID(), { type: 'Flicker', data: { count: 1_001, pin: '1' } });
    await expect(send).rejects.toMatchObject({ code: 'COMMIT_TOO_LARGE' });
  });

  it('a field that is not to be stored is in no document, and still counts for idempotency', async () => {
    const id = randomUUID();
    const commandId = randomUUID();
    const send = (pin: string) => a.send(lamp, id, { type: 'Flicker', data: { count: 2, pin } }, { commandId });
    // No id of the command can hold it by chance.
    const pin = 'not to be kept';
    expect(await send(pin)).toMatchObject({ kind: 'accepted', version: 2 });
    expect(await send(pin)).toMatchObject({ kind: 'accepted', duplicate: true });
    expect(await send('another one')).toMatchObject({ kind: 'rejected', code: 'IDEMPOTENCY_CONFLICT' });
    const { client, db } = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
    const stored = await db.collection<{ _id: string }>('commands').findOne({ _id: commandId });
    await client.close();
    expect(stored).toMatchObject({ type: 'Flicker', data: { count: 2 } });
    expect(JSON.stringify(stored)).not.toContain(pin);
  });
});

describe('bad input is answered with its place and writes nothing', () => {
  const invalid: readonly [string, unknown, readonly (string | number)[]][] = [
    ['negative money', { amount: -1 }, ['amount']],
    ['float money', { amount: 1.5 }, ['amount']],
    ['NaN', { amount: Number.NaN }, ['amount']],
    ['a missing field', {}, ['amount']],
    ['a string', 'amount', []],
    ['an operator', { amount: { $gt: 1 } }, ['amount', '$gt']],
    ['__proto__', JSON.parse('{"amount":1,"__proto__":{"x":1}}'), ['__proto__']],
    ['what MongoDB takes for a type of its own', { amount: 1, x: [{ _bsontype: 'ObjectId' }] }, ['x', 0, '_bsontype']],
    ['too much data', { amount: 1, note: 'x'.repeat(70_000) }, []],
    ['deep nesting', JSON.parse(`${'{"a":'.repeat(200)}1${'}'.repeat(200)}`), Array.from({ length: 32 }, () => 'a')],
  ];
  it.each(invalid)('%s', async (_name, data, path) => {
    const id = await open(a, 1);
    const outcome = await a.runtime.handle({ aggregate: 'account', id, type: 'Deposit', data });
    if (outcome.kind !== 'invalid') expect.fail(JSON.stringify(outcome));
    expect(outcome.issues[0]?.path).toEqual(path);
    expect(await a.send(account, id, { type: 'Deposit', data: { amount: 1 } })).toMatchObject({ version: 3 });
  });

  it('and delays nobody: 50 others that are sent beside it are accepted', async () => {
    const ids = await Promise.all(Array.from({ length: 50 }, () => open(a, 0)));
    const poison = { aggregate: 'account', type: 'Deposit', data: { amount: 1, x: { _bsontype: 'a' } } };
    const outcomes = await Promise.all([
      a.runtime.handle({ ...poison, id: await open(a, 0) }),
      ...ids.map((id) => a.send(account, id, { type: 'Deposit', data: { amount: 1 } })),
    ]);
    expect(outcomes.map(({ kind }) => kind)).toEqual(['invalid', ...ids.map(() => 'accepted')]);
  });

  it.each(['', 'x'.repeat(10_000), 'a\u0000b', '\ud800'])('an id that cannot be one: %j', async (id) => {
    const outcome = await a.runtime.handle({ aggregate: 'account', id, type: 'Deposit', data: { amount: 1 } });
    expect(outcome).toMatchObject({ kind: 'invalid', issues: [{ path: ['id'] }] });
  });

  it.each(['$where', 'a.b', 'a:b', 'a/b%2Fc', '🚀', '__proto__', 'constructor'])(
    'an odd id is only an id: %s',
    async (odd) => {
      const id = `${odd}-${randomUUID()}`.slice(0, 200);
      const opened = await a.send(account, id, { type: 'OpenAccount', data: { owner: 'O', currency: 'EUR' } });
      expect(opened).toMatchObject({ kind: 'accepted', id, version: 1 });
      if (opened.kind !== 'accepted') return;
      const document = await b.runtime.document('account', id, { atLeast: opened.token });
      expect(document).toMatchObject({ id, document: { owner: 'O' } });
    },
  );
});

it('50,000 events of one stream are appended and folded by a cold gateway', async () => {
  const id = randomUUID();
  for (let i = 0; i < 50; i++) {
    await a.send(lamp, id, { type: 'Flicker', data: { count: 1_000, pin: '' } });
  }
  const cold = await start('gateway');
  const outcome = await cold.send(lamp, id, { type: 'Flicker', data: { count: 1, pin: '' } });
  expect(outcome).toMatchObject({ kind: 'accepted', version: 50_001 });
}, 300_000);
