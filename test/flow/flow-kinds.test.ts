import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import {
  aggregate,
  command,
  type Flow,
  type FlowStep,
  module,
  observer,
  type RunningApp,
  readSettings,
  saga,
  service,
  start,
} from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { type SettleOptions, settled } from '../../src/testing/index.ts';
import { patient } from '../setup/patient.ts';
import { testServers } from '../setup/servers.ts';

const parcel = aggregate({
  name: 'parcel',
  events: { Sent: z.object({ to: z.string() }), Returned: z.object({}) },
  commands: { Send: z.object({ to: z.string() }), Return: z.object({}) },
  rejections: ['NOWHERE'],
  initial: () => null,
  evolve: { Sent: () => null, Returned: () => null },
  decide: {
    Send: (_state, data, { reject }) => (data.to === '' ? reject('NOWHERE', 'no address') : { type: 'Sent', data }),
    Return: () => ({ type: 'Returned', data: {} }),
  },
});
const fixed = { attempts: 2, backoff: { type: 'fixed', delayMs: 20 } } as const;
const courier = service({
  name: 'courier',
  events: { Delivered: z.object({}) },
  commands: { Deliver: z.object({ to: z.string() }) },
  rejections: ['UNKNOWN_ADDRESS'],
  ...fixed,
  handle: {
    Deliver: async ({ to }, { reject }) => {
      if (to === 'storm') throw new Error('too much wind');
      return to === 'nobody' ? reject('UNKNOWN_ADDRESS', 'nobody lives there') : { type: 'Delivered', data: {} };
    },
  },
});
const delivery = saga({
  name: 'delivery',
  from: [parcel],
  startFrom: 'start',
  initial: () => null,
  on: {
    Sent: (_state, { data, stream }) => ({
      send: [command(courier, stream.id, { type: 'Deliver', data })],
      timers: data.to === 'slow' ? { soon: { afterMs: 30 }, later: { afterMs: 86_400_000 } } : {},
    }),
  },
  onTimer: {
    soon: (_state, _timer, { id }) => ({ send: [command(parcel, id, { type: 'Return', data: {} })] }),
    later: () => undefined,
  },
  onRejected: (_state, _refused, { id }) => ({ send: [command(parcel, id, { type: 'Return', data: {} })] }),
});
const mail = observer({
  name: 'mail',
  from: [parcel],
  startFrom: 'start',
  ...fixed,
  on: {
    Sent: ({ data }) => {
      if (data.to === 'full') throw new Error('mailbox full');
    },
  },
});

/** Several correlation keys: the parcel, and where it goes. */
const manyKeys = saga({
  name: 'street',
  from: [parcel],
  startFrom: 'start',
  ...fixed,
  keys: (event) => (event.type === 'Sent' ? [event.stream.id, `to ${event.data.to}`] : [event.stream.id]),
  initial: () => null,
  on: {
    Sent: (_state, { data }) => {
      if (data.to === 'ghost') throw new Error('no such street');
      return { state: null };
    },
    Returned: () => ({ state: null }),
  },
});

let app: RunningApp;
beforeAll(async () => {
  const { mongoUrl, redisUrl, database, prefix } = testServers();
  const settings = readSettings({
    MONGODB_URL: mongoUrl,
    MONGODB_DATABASE: database,
    REDIS_URL: redisUrl,
    REDIS_PREFIX: prefix,
    ...patient,
  });
  const modules = [module({ name: 'post', parts: [parcel, courier, delivery, mail, manyKeys] })];
  app = await start({ modules, settings, logger: createLogger({ level: 'silent', pretty: false }) });
});
afterAll(() => app.stop());

const send = (to: string) => app.send(parcel, randomUUID(), { type: 'Send', data: { to } });
const over = (outcome: Parameters<typeof settled<Flow>>[1], options: SettleOptions = {}) =>
  settled<Flow>(app, outcome, { timeoutMs: 60_000, ...options });
const lines = (steps: readonly FlowStep[]): string[] => {
  const names = new Map(steps.map(({ id, kind, name }) => [id, `${kind} ${name}`]));
  return steps.map(({ kind, name, status, attempts, parentId, error }) =>
    `${kind} ${name} ${status} #${attempts} < ${parentId === null ? '' : names.get(parentId)} ${error?.code ?? ''}`.trim(),
  );
};

test('a command of a service is a step of its own, between the saga and its event', async () => {
  const { steps } = await over(send('home'));
  expect(lines(steps).sort()).toEqual(
    [
      'COMMAND Send DONE #1 <',
      'EVENT Sent DONE #1 < COMMAND Send',
      'SAGA delivery DONE #1 < EVENT Sent',
      'SAGA street DONE #1 < EVENT Sent',
      'OBSERVER mail DONE #1 < EVENT Sent',
      'SERVICE Deliver DONE #1 < SAGA delivery',
      'EVENT Delivered DONE #1 < SERVICE Deliver',
    ].sort(),
  );
  const service = steps.find(({ kind }) => kind === 'SERVICE');
  expect(service?.durationMs).toBeGreaterThanOrEqual(0);
});

test('a service that refuses, and the saga that hears of it', async () => {
  const { steps } = await over(send('nobody'));
  expect(lines(steps)).toContain('SERVICE Deliver REJECTED #1 < SAGA delivery UNKNOWN_ADDRESS');
  expect(lines(steps)).toContain('SAGA delivery DONE #1 < SERVICE Deliver');
  expect(lines(steps)).toContain('COMMAND Return DONE #1 < SAGA delivery');
});

test('a service and an observer whose tries are used up are dead steps, and the flow settles all the same', async () => {
  const storm = await over(send('storm'));
  expect(lines(storm.steps)).toContain('SERVICE Deliver DEAD #2 < SAGA delivery HANDLER_FAILED');
  const full = await over(send('full'));
  expect(lines(full.steps)).toContain('OBSERVER mail DEAD #2 < EVENT Sent HANDLER_FAILED');
  expect([storm.settled, full.settled]).toEqual([true, true]);
});

test('an instance of several keys that fails is found by any of them, and what waits behind it', async () => {
  const id = randomUUID();
  const first = await over(app.send(parcel, id, { type: 'Send', data: { to: 'ghost' } }));
  expect(lines(first.steps)).toContain('SAGA street DEAD #2 < EVENT Sent HANDLER_FAILED');
  const second = await over(app.send(parcel, id, { type: 'Return', data: {} }));
  expect(lines(second.steps)).toContain('SAGA street DEAD #0 < EVENT Returned PARKED');
  expect(second.settled).toBe(true);
});

test('a timer that fired is the cause of what it sent; one that waits for tomorrow keeps nobody waiting', async () => {
  const flow = await over(send('slow'), { dueWithinMs: 1_000 });
  const shown = lines(flow.steps);
  expect(shown).toContain('TIMER delivery: soon DONE #1 < SAGA delivery');
  expect(shown).toContain('COMMAND Return DONE #1 < TIMER delivery: soon');
  expect(shown).toContain('EVENT Returned DONE #1 < COMMAND Return');
  expect(shown).toContain('TIMER delivery: later PENDING #0 < SAGA delivery');
});

test('a command for later is a step that waits, and is settled until then', async () => {
  const correlationId = randomUUID();
  const sendAt = new Date(Date.now() + 86_400_000);
  const meta = { correlationId };
  await app.send(parcel, randomUUID(), { type: 'Send', data: { to: 'home' } }, { sendAt, meta });
  const { steps } = await over(correlationId);
  expect(steps).toMatchObject([{ kind: 'COMMAND', name: 'Send', status: 'PENDING', attempts: 0, startedAt: sendAt }]);
});

test('of a command that was not taken nothing can settle, and that is said', async () => {
  await expect(over(send(''))).rejects.toMatchObject({
    code: 'BAD_INPUT',
    message: expect.stringContaining('rejected: NOWHERE, no address'),
  });
});
