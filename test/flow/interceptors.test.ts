import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import {
  aggregate,
  baggageOf,
  command,
  type HandlerCall,
  interceptor,
  module,
  observer,
  projector,
  query,
  type RunningApp,
  readSettings,
  saga,
  service,
  start,
  view,
} from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { patient } from '../setup/patient.ts';
import { testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

const calls: { readonly call: HandlerCall; readonly result: unknown }[] = [];
const errors: { readonly call: HandlerCall; readonly error: unknown }[] = [];
const closed = new Set<string>();

const note = aggregate({
  name: 'note',
  events: { Written: z.object({ text: z.string() }) },
  commands: { Write: z.object({ text: z.string() }) },
  rejections: ['EMPTY'],
  initial: () => 0,
  evolve: { Written: (count) => count + 1 },
  decide: {
    Write: (_count, data, { reject }) => (data.text === '' ? reject('EMPTY', 'no text') : { type: 'Written', data }),
  },
});
const noteView = view('note', z.object({ id: z.string(), text: z.string() }));
const notes = projector({
  name: 'notes',
  version: 1,
  from: [note],
  into: noteView,
  on: { Written: (_doc, { data }, id) => ({ id, text: data.text }) },
});
const textOf = query({
  name: 'textOf',
  input: z.object({ id: z.string() }),
  output: z.string().nullable(),
  run: async ({ id }, read) => (await read(noteView).get(id))?.text ?? null,
});
const printer = service({
  name: 'printer',
  events: { Printed: z.object({ text: z.string() }) },
  commands: { Print: z.object({ text: z.string() }) },
  attempts: 3,
  backoff: { type: 'fixed', delayMs: 20 },
  handle: {
    Print: async (data, { attempt }) => {
      if (data.text === 'jam' && attempt < 2) throw new Error('paper jam');
      return { type: 'Printed', data };
    },
  },
});
const printing = saga({
  name: 'printing',
  from: [note, printer],
  startFrom: 'start',
  initial: () => 0,
  on: {
    Written: (_state, { data, stream }) => ({
      send: [command(printer, stream.id, { type: 'Print', data })],
      timers: { later: { afterMs: 20 } },
    }),
  },
  onTimer: { later: () => ({ end: true }) },
});
const archive = observer({
  name: 'archive',
  from: [printer],
  startFrom: 'start',
  attempts: 3,
  backoff: { type: 'fixed', delayMs: 20 },
  on: {
    Printed: async ({ data }, { attempt }) => {
      if (data.text === 'jam' && attempt < 2) throw new Error('shelf full');
    },
  },
});
const watch = interceptor({
  name: 'watch',
  before: ({ kind, type }) => {
    if (closed.has(`${kind} ${type}`)) throw new Error('closed for today');
  },
  after: (call, result) => void calls.push({ call, result }),
  onError: (call, error) => void errors.push({ call, error }),
  baggage: ({ type }) => ({ build: `7 of ${type}` }),
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
  const modules = [
    module({ name: 'notes', parts: [note, noteView, notes, textOf, printer, printing, archive, watch] }),
  ];
  app = await start({ modules, settings, logger: createLogger({ level: 'silent', pretty: false }) });
});
afterAll(() => app.stop());

const kinds = (id: string): string[] =>
  calls
    .filter(({ call }) => call.meta?.correlationId === id)
    .map(({ call }) => `${call.kind} ${call.name} ${call.type}`);

test('an interceptor sees the command, the event and the query, with the caller’s metadata', async () => {
  const meta = { correlationId: 'one', baggage: 'shop=7', client: 'till' };
  const outcome = await app.send(note, 'n1', { type: 'Write', data: { text: 'a' } }, { meta });
  if (outcome.kind !== 'accepted') throw new Error(outcome.kind);
  expect(await app.ask(textOf, { id: 'n1' }, { atLeast: outcome.token })).toBe('a');
  expect(kinds('one')[0]).toBe('aggregate note Write');
  expect(kinds('one')).toContain('projector notes Written');
  expect(calls.find(({ call }) => call.kind === 'query')).toMatchObject({
    call: { name: 'textOf', input: { id: 'n1' } },
    result: 'a',
  });
});

test('what it adds to the baggage is on every event of the command, behind what the caller said', async () => {
  const meta = { correlationId: 'two', baggage: 'shop=7' };
  await app.send(note, 'n2', { type: 'Write', data: { text: 'b' } }, { meta });
  const { edges } = await app.runtime.events({ correlationId: 'two' }, {});
  const [event] = await until('the event is placed', async () => {
    const page = edges.length > 0 ? edges : (await app.runtime.events({ correlationId: 'two' }, {})).edges;
    return page.length > 0 ? page.map(({ node }) => node) : undefined;
  });
  expect([...baggageOf(event?.meta ?? {})]).toEqual([
    ['shop', '7'],
    ['build', '7 of Write'],
  ]);
});

test('a refusal is an answer and no error; a `before` that throws fails the command, and nothing is written', async () => {
  const refused = await app.send(
    note,
    'n3',
    { type: 'Write', data: { text: '' } },
    { meta: { correlationId: 'three' } },
  );
  expect(refused.kind).toBe('rejected');
  expect(calls.find(({ call }) => call.meta?.correlationId === 'three')?.result).toMatchObject({ rejected: 'EMPTY' });
  closed.add('aggregate Write');
  const sent = app.send(note, 'n3', { type: 'Write', data: { text: 'x' } }, { commandId: 'kept' });
  await expect(sent).rejects.toThrow('closed for today');
  closed.clear();
  expect(await app.runtime.findCommand('note', 'n3', 'kept')).toBeUndefined();
});

test('a `before` that throws in a projector is a failure of its handler, healed by another try', async () => {
  closed.add('projector Written');
  const sent = await app.send(note, 'n4', { type: 'Write', data: { text: 'd' } }, { meta: { correlationId: 'four' } });
  await until('the handler failed', async () => {
    const [state] = await app.runtime.consumers();
    return state !== undefined && state.retryingCount > 0 ? state : undefined;
  });
  closed.clear();
  if (sent.kind !== 'accepted') throw new Error(sent.kind);
  expect(await app.ask(textOf, { id: 'n4' }, { atLeast: sent.token, timeoutMs: 30_000 })).toBe('d');
});

test('metadata that is not well-formed is refused with its place', async () => {
  const meta = { correlationId: 'a\nb', causationId: '', baggage: 'no value' };
  const outcome = await app.send(note, 'n5', { type: 'Write', data: { text: 'e' } }, { meta });
  expect(outcome).toMatchObject({
    kind: 'invalid',
    issues: [{ path: ['meta', 'correlationId'] }, { path: ['meta', 'causationId'] }, { path: ['meta', 'baggage'] }],
  });
});

test('sagas, services and observers have them too, each try with its number', async () => {
  const meta = { correlationId: 'six', baggage: 'shop=7' };
  await app.send(note, 'n6', { type: 'Write', data: { text: 'jam' } }, { meta });
  const flow = await app.settled('six', { dueWithinMs: 1_000, timeoutMs: 60_000 });
  expect(flow.steps.filter(({ status }) => status === 'DEAD')).toEqual([]);
  const own = calls.filter(({ call }) => call.meta?.correlationId === 'six').map(({ call }) => call);
  // Once each, or more often: a handler runs again when what it did could not be written.
  const told = new Set(own.map(({ kind, name, type, attempt }) => `${kind} ${name} ${type} #${attempt}`));
  expect([...told].sort()).toEqual([
    'aggregate note Write #1',
    'observer archive Printed #2',
    'projector notes Written #1',
    'saga printing Written #1',
    'service printer Print #2',
  ]);
  const failed = new Set(
    errors
      .filter(({ call }) => call.meta?.correlationId === 'six')
      .map(({ call, error }) => `${call.kind} #${call.attempt} ${error}`),
  );
  expect([...failed].sort()).toEqual(['observer #1 Error: shelf full', 'service #1 Error: paper jam']);
  const timer = calls.filter(({ call }) => call.kind === 'saga' && call.type === 'later');
  expect(timer.length).toBeGreaterThan(0);
  // The baggage of the first command goes on; every command adds its own where it is not there yet.
  const printed = flow.steps.find(({ name }) => name === 'Printed')?.event;
  expect(Object.fromEntries(baggageOf(printed?.meta ?? {}))).toEqual({ shop: '7', build: '7 of Write' });
});
