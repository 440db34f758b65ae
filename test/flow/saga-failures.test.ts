import { graphql } from 'graphql';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { schemaOf } from '../../resolvers/index.ts';
import { buildModel } from '../../src/define/model.ts';
import { SagaWork } from '../../src/engine/delivery/saga-work.ts';
import type { Errand } from '../../src/engine/partitions/errand.ts';
import type { GatewayContext } from '../../src/gateway/context.ts';
import { aggregate, command, module, type Reaction, type RunningApp, saga } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { createCausalReads } from '../../src/store/causal-reads.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import { createSagaStore } from '../../src/store/sagas.ts';
import { sagaApps } from '../setup/saga-apps.ts';
import { until } from '../setup/until.ts';

const loops = sagaApps();

const loopEvents = (id: string): Promise<number> =>
  loops.db.collection<LogDocument>('events').countDocuments({ stream: `default/ping/${id}` });
const loop = aggregate({
  name: 'ping',
  events: { Pinged: z.object({ note: z.string() }) },
  commands: { Ping: z.object({ note: z.string() }) },
  initial: () => null,
  evolve: { Pinged: () => null },
  rejections: ['NO'],
  decide: {
    Ping: (_s, data, { reject }) => (data.note === 'refuse' ? reject('NO', 'not this') : { type: 'Pinged', data }),
  },
});
const ping = (app: RunningApp, id: string, note: string) => app.send(loop, id, { type: 'Ping', data: { note } });
type Answer = Reaction<{ readonly seen: readonly string[] }>;
/** A saga whose handlers a test replaces while it runs, as a deployment would. */
const code: {
  pinged: (note: string, id: string) => Answer | undefined;
  rang: () => Answer | undefined;
  refused: () => Answer | undefined;
} = { pinged: () => undefined, rang: () => undefined, refused: () => undefined };
const pinging = saga({
  name: 'pinging',
  from: [loop],
  attempts: 1,
  initial: (): { readonly seen: readonly string[] } => ({ seen: [] }),
  on: {
    Pinged: (state, { data }, { id }) => code.pinged(data.note, id) ?? { state: { seen: [...state.seen, data.note] } },
  },
  onTimer: { bell: (state) => code.rang() ?? { state: { seen: [...state.seen, 'bell'] } } },
  onRejected: (state, rejection) => code.refused() ?? { state: { seen: [...state.seen, rejection.code] } },
});

describe('an instance', () => {
  let app: RunningApp;
  beforeAll(async () => {
    const modules = module({ name: 'loops', parts: [loop, pinging] });
    // Its past is of no concern to a new saga.
    const before = await loops.start(module({ name: 'loops', parts: [loop] }));
    for (let i = 0; i < 100; i++) await ping(before, 'old', String(i));
    await until('the past is in the log', async () => (await loopEvents('old')) === 100 || undefined);
    await before.stop();
    app = await loops.start(modules);
  });
  const saw = (id: string, notes: readonly string[]) =>
    until(`${id} saw ${notes.join(', ')}`, async () => {
      const state = (await app.runtime.saga('pinging', id))?.state;
      return JSON.stringify(state) === JSON.stringify({ seen: notes }) || undefined;
    });
  const dead = (id: string) =>
    until(`${id} has a dead letter`, async () => {
      const record = await app.runtime.saga('pinging', id);
      if (record === undefined) return undefined;
      const letter = await app.runtime.sagaDeadLetter(record);
      return letter?.state === 'DEAD' ? { record, letter } : undefined;
    });
  const heal = async (id: string, deadLetter: string): Promise<void> => {
    await app.runtime.operators.retryDeadLetters({ ids: [deadLetter] }, undefined, { actor: 'test', reason: 'mended' });
    await until(`${id} flows`, async () => {
      const record = await app.runtime.saga('pinging', id);
      return (record && (await app.runtime.sagaDeadLetter(record))) === undefined || undefined;
    });
  };

  test('of a new saga begins with what happens from now on', async () => {
    await ping(app, 'old', 'now');
    await saw('old', ['now']);
  });

  test('that fails stands still alone, shows why, and goes on with the same state when the code is mended', async () => {
    await ping(app, 'a', '1');
    await saw('a', ['1']);
    code.pinged = (note, id) => {
      if (id === 'a' && note === '2') throw new Error('a bug');
      return undefined;
    };
    for (const note of ['2', '3']) await ping(app, 'a', note);
    await ping(app, 'b', '1');
    await saw('b', ['1']);
    const { record, letter } = await dead('a');
    expect(letter).toMatchObject({ consumer: 'pinging', input: 'event', inputType: 'Pinged', attempts: 1 });
    const timeline = await app.runtime.sagaTimeline(record);
    expect(timeline.map(({ number, error }) => [number, error?.message])).toEqual([
      [1, undefined],
      [2, 'a bug'],
    ]);
    code.pinged = () => undefined;
    await heal('a', letter.id);
    await saw('a', ['1', '2', '3']);
  });

  test.each([
    ['an unknown aggregate', { aggregate: 'pong', id: 'x', type: 'Ping', data: { note: '' } }, 0],
    ['data that its schema refuses', { aggregate: 'ping', id: 'x', type: 'Ping', data: { note: 7 } }, 1],
  ])('that sends to %s writes nothing at all, and says why', async (_what, dispatch, issueCount) => {
    const id = `bad-${issueCount}`;
    code.pinged = (_note, key) =>
      key === id
        ? {
            state: { seen: ['half'] },
            send: [command(loop, 'target', { type: 'Ping', data: { note: id } }), dispatch],
            timers: { bell: { afterMs: 0 } },
          }
        : undefined;
    await ping(app, id, '1');
    const { record, letter } = await dead(id);
    expect(letter).toMatchObject({ error: { code: 'SAGA_COMMAND_INVALID' }, attempts: 1 });
    expect(letter.error.issues ?? []).toHaveLength(issueCount);
    expect(record).toMatchObject({ state: null, stepCount: 0 });
    for (const name of ['queued_commands', 'timers']) {
      const found = name === 'timers' ? { key: id } : { 'sender.key': id };
      expect(await loops.db.collection(name).countDocuments(found)).toBe(0);
    }
    code.pinged = () => undefined;
  });

  test('whose commands cause one another without end is stopped, and says so', async () => {
    code.pinged = (_note, id) =>
      id === 'loop' ? { send: [command(loop, id, { type: 'Ping', data: { note: 'again' } })] } : undefined;
    await ping(app, 'loop', '0');
    const { letter } = await dead('loop');
    expect(letter.error.code).toBe('CHAIN_TOO_LONG');
    expect(await loopEvents('loop')).toBe(21);
    code.pinged = () => undefined;
  });

  test('hears a timer that became due while it was dead when it flows again', async () => {
    code.pinged = (note) => {
      if (note === 'boom') throw new Error('a bug');
      return note === 'set' ? { state: { seen: ['set'] }, timers: { bell: { afterMs: 400 } } } : undefined;
    };
    // Both are handled in one go: however long this process is held up, the bell does not ring between them.
    const call = { actor: 'test', reason: 'both at once' };
    await app.runtime.operators.pauseConsumer('pinging', call);
    for (const note of ['set', 'boom']) await ping(app, 'late', note);
    await until('both are in the log', async () => (await loopEvents('late')) === 2 || undefined);
    await app.runtime.operators.resumeConsumer('pinging', call);
    const { letter } = await dead('late');
    const rung = { key: 'late' };
    await until('the bell rang', async () => (await loops.db.collection('timers').findOne(rung)) === null || undefined);
    expect((await app.runtime.saga('pinging', 'late'))?.timers).toMatchObject([{ name: 'bell' }]);
    code.pinged = () => undefined;
    await heal('late', letter.id);
    await saw('late', ['set', 'boom', 'bell']);
  });

  test('is woken by its timer, and by one whose handler failed when it is tried again', async () => {
    const bell = (afterMs: number): Answer => ({ state: { seen: ['set'] }, timers: { bell: { afterMs } } });
    code.pinged = (note) => (note === 'set' ? bell(50) : undefined);
    await ping(app, 'timed', 'set');
    await saw('timed', ['set', 'bell']);
    expect(await loops.db.collection('timers').countDocuments({ key: 'timed' })).toBe(0);

    code.rang = () => {
      throw new Error('the bell is broken');
    };
    await ping(app, 'timed', 'set');
    const { letter } = await dead('timed');
    expect(letter).toMatchObject({ input: 'timer', inputType: 'bell', error: { message: 'the bell is broken' } });
    await ping(app, 'timed', 'after');
    code.rang = () => undefined;
    await heal('timed', letter.id);
    await saw('timed', ['set', 'bell', 'after']);
  });

  test('no longer has a timer whose failure was skipped, and goes on', async () => {
    code.pinged = (note) =>
      note === 'set' ? { state: { seen: ['set'] }, timers: { bell: { afterMs: 0 } } } : undefined;
    code.rang = () => {
      throw new Error('the bell is broken');
    };
    await ping(app, 'skipped', 'set');
    const { letter } = await dead('skipped');
    code.rang = () => undefined;
    await app.runtime.operators.skipDeadLetter(letter.id, { actor: 'test', reason: 'nobody needs it' });
    await ping(app, 'skipped', 'after');
    await saw('skipped', ['set', 'after']);
    expect((await app.runtime.saga('pinging', 'skipped'))?.timers).toEqual([]);
    expect(await loops.db.collection('timers').countDocuments({ key: 'skipped' })).toBe(0);
  });

  test('hears of a refusal when its handler can take it, once', async () => {
    code.pinged = (note) =>
      note === 'send'
        ? { state: { seen: ['sent'] }, send: [command(loop, 'other', { type: 'Ping', data: { note: 'refuse' } })] }
        : undefined;
    code.refused = () => {
      throw new Error('no plan for that');
    };
    await ping(app, 'refused', 'send');
    const { letter } = await dead('refused');
    expect(letter).toMatchObject({ input: 'refusal', inputType: 'Ping', error: { message: 'no plan for that' } });
    await ping(app, 'refused', 'after');
    code.refused = () => undefined;
    await heal('refused', letter.id);
    await saw('refused', ['sent', 'NO', 'after']);
    expect(await loops.db.collection('queued_commands').countDocuments({ tell: true })).toBe(0);
  });

  test('is read by GraphQL with its timeline, timers and dead letter', async () => {
    code.pinged = (note) =>
      note === 'set'
        ? {
            state: { seen: ['set'] },
            send: [command(loop, 'silent', { type: 'Ping', data: { note: 'x' } })],
            timers: { bell: { afterMs: 3_600_000 } },
          }
        : undefined;
    await ping(app, 'shown', 'set');
    await saw('shown', ['set']);
    code.pinged = () => undefined;
    await until('its command is settled', async () => (await loopEvents('silent')) === 1 || undefined);
    const schema = schemaOf([module({ name: 'loops', parts: [loop, pinging] })]);
    const source = `{
      saga(name: "pinging", id: "shown") {
        status state keys timers { name }
        timeline { number kind name position sent { type state } timers { name dueAt } error { code } }
        deadLetter { id }
      }
      sagas(saga: "pinging", status: ACTIVE, first: 2) { edges { node { id } } pageInfo { hasNextPage } }
    }`;
    const context = { runtime: app.runtime } as GatewayContext;
    const shown = await until('the timeline says so', async () => {
      const { data, errors } = await graphql({ schema, source, contextValue: context });
      if (errors !== undefined) throw errors[0];
      return JSON.stringify(data).includes('ACCEPTED') ? data : undefined;
    });
    expect(shown).toMatchObject({
      saga: {
        status: 'ACTIVE',
        state: { seen: ['set'] },
        keys: ['shown'],
        timers: [{ name: 'bell' }],
        timeline: [
          { number: 1, kind: 'EVENT', name: 'Pinged', sent: [{ type: 'Ping', state: 'ACCEPTED' }], error: null },
        ],
        deadLetter: null,
      },
      sagas: { pageInfo: { hasNextPage: true } },
    });
    const unknown = await graphql({ schema, source: '{ saga(name: "x", id: "y") { id } }', contextValue: context });
    expect(unknown.errors?.[0]?.originalError).toMatchObject({ code: 'UNKNOWN_CONSUMER' });
  });
});

test('a refusal is told, however many of other instances wait behind dead letters', async () => {
  const { db } = loops;
  const store = createSagaStore(db, 'many', createCausalReads(db.client));
  const model = buildModel([module({ name: 'loops', parts: [loop, pinging] })]);
  const limits = { dataMaxBytes: 1_000, maxDepth: 10 };
  const logger = createLogger({ level: 'silent', pretty: false });
  const work = new SagaWork({ model, logId: 'many', store, limits, direct: false, logger });
  const [consumer] = model.consumers;
  if (consumer?.kind !== 'saga') throw new Error('the saga is missing');
  work.handler(consumer);
  const refusals = Array.from({ length: 11_000 }, (_, index) => {
    const partition = Math.floor(index / 2_000);
    const sender = { consumer: 'pinging', generation: consumer.generation, partition, key: `k${index}` };
    return { _id: `many\u0000${index}`, logId: 'many', commandId: `c${index}`, tell: true, sender };
  });
  const queued = db.collection<(typeof refusals)[number]>('queued_commands');
  await queued.insertMany(refusals);
  const told: unknown[] = [];
  work.delivers({
    // All but the very last wait.
    errand: async <R>(_consumer: string, _partition: number, { of }: Errand<R>) => {
      if ('key' in of && of.key === 'k10999') told.push(of.key);
      return 'waits' as R;
    },
  });
  for (let count = 0; count < 25 && told.length === 0; count++) await work.look();
  expect(told).toEqual(['k10999']);
  await queued.deleteMany({ logId: 'many' });
});
