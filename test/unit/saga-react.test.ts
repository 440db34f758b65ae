import { buildModel, isMillraceError, type Reaction, saga } from 'millrace';
import { describe, expect, test } from 'vitest';
import { type ReactOptions, reactSaga } from '../../src/define/react.ts';
import { TIMELINE_CAP } from '../../src/define/saga-instance.ts';
import { targetsOf } from '../../src/define/saga-reaction.ts';
import { module } from '../../src/index.ts';
import { type Fulfilment, fulfilmentSpec, order, purse, shipment } from '../setup/shop.ts';

const AT = new Date('2026-05-01T12:00:00Z');
const meta = {
  correlationId: 'c-1',
  causationId: null,
  actor: 'ada',
  tenant: 'acme',
  traceparent: null,
  client: 'shop',
  baggage: 'a=1',
  depth: 3,
};

const placed = {
  id: 'e-1',
  type: 'OrderPlaced',
  data: { sku: 'tea', amount: 1 },
  schemaVersion: 1,
  stream: { tenant: 'acme', aggregate: 'order', id: 'o-1', version: 1 },
  position: 7,
  commandId: 'k-1',
  at: AT,
  meta,
};

/** One step of a saga whose handler of OrderPlaced answers with this. */
function react(
  answer: unknown,
  change: Partial<ReactOptions> = {},
  more: { readonly keepEndedMs?: number | 'forever' } = {},
) {
  const on = { ...fulfilmentSpec.on, OrderPlaced: () => answer as Reaction<Fulfilment> };
  const sagas = saga({ ...fulfilmentSpec, ...more, on });
  const model = buildModel([module({ name: 'shop', parts: [order, purse, shipment, sagas] })]);
  const [consumer] = model.consumers;
  if (consumer?.kind !== 'saga') throw new Error('no saga');
  return reactSaga({
    saga: consumer,
    targets: targetsOf(model),
    id: 'o-1',
    instance: undefined,
    input: { kind: 'event', event: placed },
    handledAt: new Date(AT.getTime() + 5),
    maxDepth: 100,
    dataMaxBytes: 200,
    newId: (purpose, inputId, index) => `${purpose}:${inputId}:${index}`,
    ...change,
  });
}
function codeOf(run: () => unknown): { readonly code: string; readonly message: string } {
  try {
    run();
  } catch (error) {
    if (isMillraceError(error)) return error;
    throw error;
  }
  throw new Error('it did not throw');
}
const pay = (data: unknown) => ({ aggregate: 'purse', id: 'a', type: 'Pay', data });
const good = { orderId: 'o-1', amount: 1 };

describe('what a saga sends', () => {
  test('carries on the metadata of what caused it, one step deeper, by the saga itself', () => {
    const effect = react({ send: [pay(good), pay(good)] });
    expect(effect?.commands).toEqual(
      [0, 1].map((index) => ({
        ...pay(good),
        commandId: `command:e-1:${index}`,
        meta: { ...meta, causationId: 'e-1', actor: 'saga:fulfilment', depth: 4 },
      })),
    );
    expect(effect?.instance.timeline).toMatchObject([
      { number: 1, kind: 'event', name: 'OrderPlaced', position: 7, causeId: 'e-1', sentCount: 2, at: AT },
    ]);
  });

  test.each([
    ['an unknown aggregate', { ...pay(good), aggregate: 'prse' }, /"prse", which is no aggregate or service/],
    ['an unknown command', { ...pay(good), type: 'Payy' }, /"Payy", which "purse" does not have \(Pay, Repay\)/],
    ['data that its schema refuses', pay({ orderId: 'o-1' }), /amount: /],
    ['data that is no JSON', pay({ ...good, at: new Date() }), /at: must be plain JSON, is a Date/],
    ['more data than a command may have', pay({ ...good, orderId: 'x'.repeat(200) }), /not be larger than 200 bytes/],
    ['an empty id', { ...pay(good), id: '' }, /must not be empty/],
    ['no command at all', 'Pay', /is a string/],
  ])('%s: nothing is written, and the message says where', (_what, dispatch, message) => {
    const error = codeOf(() => react({ send: [pay(good), dispatch] }));
    expect(error.code).toBe('SAGA_COMMAND_INVALID');
    expect(error.message).toMatch(message);
    expect(error.message).toContain(
      'Saga "fulfilment", instance "o-1", event "OrderPlaced" at position 7: command 2 of 2',
    );
  });

  test('a chain of commands that is too long is stopped, one of the last allowed length is not', () => {
    expect(react({ send: [pay(good)] }, { maxDepth: 4 })?.commands).toHaveLength(1);
    expect(codeOf(() => react({ send: [pay(good)] }, { maxDepth: 3 })).code).toBe('CHAIN_TOO_LONG');
    expect(react({ end: true }, { maxDepth: 3 })?.instance.status).toBe('ENDED');
  });
});

describe('what a saga answers', () => {
  test.each([
    ['a promise', Promise.resolve(), /a promise: sagas are pure/],
    ['null', null, /answers with null/],
    ['a misspelt field', { sned: [] }, /unknown field "sned"/],
    ['a state with a function', { state: { run: () => 1 } }, /run: must be plain JSON, is function/],
    ['a state with a Map', { state: { all: new Map() } }, /all: must be plain JSON, is a Map/],
    ['a state with NaN', { state: { n: Number.NaN } }, /n: must be a finite number/],
    ['a circle', { state: circle() }, /nested deeper than/],
    ['a timer without a handler', { timers: { remind: { afterMs: 1 } } }, /"remind", which has no handler/],
    ['a timer at no time', { timers: { deadline: { afterMs: Number.NaN } } }, /up to the year 9999/],
    [
      'a timer that never comes',
      { timers: { deadline: { afterMs: Number.POSITIVE_INFINITY } } },
      /up to the year 9999/,
    ],
    ['a timer beyond the year 9999', { timers: { deadline: { at: new Date(8.64e15) } } }, /up to the year 9999/],
    ['a timer that is a text', { timers: { deadline: 'tomorrow' } }, /Use \{ afterMs \}/],
    [
      'an end with a timer',
      { end: true, timers: { deadline: { afterMs: 1 } } },
      /ends the instance and sets its timer/,
    ],
    ['keys of a saga that has one', { keys: ['x'] }, /has no `keys` function/],
    ['too many commands', { send: Array.from({ length: 1_001 }, () => pay(good)) }, /at most 1000/],
  ])('%s is refused', (_what, answer, message) => {
    const error = codeOf(() => react(answer));
    expect(error).toMatchObject({ code: 'SAGA_REACTION_INVALID' });
    expect(error.message).toMatch(message);
  });

  test('a timer in the past is one that is due', () => {
    const at = new Date(0);
    expect(react({ timers: { deadline: { at } } })?.timers).toMatchObject([{ name: 'deadline', dueAt: at, setAt: AT }]);
  });

  test('nothing starts nothing; a state may hold dates, and what handlers get cannot be changed', () => {
    expect(react(undefined)).toBeUndefined();
    const state = react({ state: { at: AT, gone: undefined } })?.instance.state;
    expect(state).toStrictEqual({ at: AT });
    expect(Object.isFrozen(state)).toBe(true);
  });
});

describe('an instance', () => {
  const started = react({ timers: { deadline: { afterMs: 60_000 } } })?.instance;
  const dueAt = new Date(AT.getTime() + 60_000);

  test('takes a timer that it has, exactly then, once', () => {
    const input = { kind: 'timer', name: 'deadline', dueAt } as const;
    const handledAt = new Date(dueAt.getTime() + 3_600_000);
    const fired = react(undefined, { instance: started, input, handledAt });
    expect(fired).toMatchObject({
      timersGone: ['deadline'],
      instance: { timers: [], timeline: [{}, { kind: 'timer', lateMs: 3_600_000, at: dueAt, ended: true }] },
      // What waited that long begins a chain of its own.
      commands: [{ type: 'FailOrder', meta: { correlationId: 'c-1', causationId: 'e-1', depth: 1 } }],
    });
    expect(react(undefined, { instance: fired?.instance, input })).toBeUndefined();
    const other = { ...input, dueAt: AT };
    expect(react(undefined, { instance: started, input: other })).toBeUndefined();
  });

  test('that has ended notes a refusal and nothing else', () => {
    const ended = react({ send: [pay(good)], end: true })?.instance;
    const rejection = { ...pay(good), commandId: 'k', code: 'TOO_MUCH', reason: 'no' };
    const told = react(undefined, { instance: ended, input: { kind: 'refusal', rejection, at: AT, meta } });
    expect(told).toMatchObject({ commands: [], instance: { status: 'ENDED', stepCount: 2 } });
    expect(told?.instance.timeline[1]).toMatchObject({ kind: 'refusal', name: 'Pay', refusal: { code: 'TOO_MUCH' } });
    expect(react({ end: true }, { instance: ended })).toBeUndefined();
  });

  test('that ended is kept for its time: what happens after that begins another, what happened before does not', () => {
    const ended = react({ end: true })?.instance;
    const keptMs = 30 * 86_400_000;
    expect(ended?.expiresAt).toEqual(new Date(AT.getTime() + 5 + keptMs));
    const happened = (at: Date) => ({ kind: 'event', event: { ...placed, at } }) as const;
    // However late it is handled.
    const handledAt = new Date(AT.getTime() + 2 * keptMs);
    expect(react({}, { instance: ended, handledAt, input: happened(new Date(AT.getTime() + keptMs)) })).toBeUndefined();
    const again = react({}, { instance: ended, handledAt, input: happened(handledAt) });
    expect(again).toMatchObject({
      newKeys: ['o-1'],
      instance: { status: 'ACTIVE', stepCount: 1, startedAt: handledAt },
    });
    expect(again?.instance).not.toHaveProperty('expiresAt');
    const forever = react({ end: true }, {}, { keepEndedMs: 'forever' })?.instance;
    expect(forever).not.toHaveProperty('expiresAt');
    for (const keepEndedMs of [-1, 0.5, Number.NaN, 1e15]) {
      expect(codeOf(() => react({}, {}, { keepEndedMs }))).toMatchObject({ code: 'DEFINITION_INVALID' });
    }
  });

  test('has a thousand correlation keys at most: one more is refused, and says where', () => {
    const keys = Array.from({ length: 999 }, (_, index) => `k${index}`);
    const full = react({}, { keys })?.instance;
    expect(full?.keys).toHaveLength(1_000);
    expect(react({ state: { sku: 'more' } }, { instance: full, keys })?.instance.keys).toHaveLength(1_000);
    const error = codeOf(() => react({}, { instance: full, keys: ['another'] }));
    expect(error).toMatchObject({ code: 'SAGA_REACTION_INVALID' });
    expect(error.message).toMatch(
      /"fulfilment", instance "o-1", event "OrderPlaced" at position 7: 1001 correlation keys/,
    );
  });

  test('remembers its last steps only', () => {
    let instance = started;
    for (let i = 0; i < TIMELINE_CAP + 10; i++) instance = react({ state: { i } }, { instance })?.instance;
    expect(instance?.timeline).toHaveLength(TIMELINE_CAP);
    expect(instance?.timeline.at(-1)?.number).toBe(TIMELINE_CAP + 11);
  });
});

function circle(): object {
  const one: { self?: object } = {};
  one.self = one;
  return one;
}
