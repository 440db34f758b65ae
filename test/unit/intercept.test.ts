import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { AnyRecorded } from '../../src/define/event.ts';
import type { HandlerCall } from '../../src/define/interceptor.ts';
import { interceptFor, withAttempt } from '../../src/engine/commands/intercept.ts';
import { interceptModel } from '../../src/engine/commands/intercept-model.ts';
import {
  aggregate,
  buildModel,
  type Interceptor,
  type InterceptorHooks,
  interceptor,
  module,
  observer,
  projector,
  query,
  saga,
  service,
  view,
} from '../../src/index.ts';

const call: HandlerCall = { kind: 'query', name: 'q', type: 'q', input: 1, meta: undefined, attempt: 1 };
const failedHooks: unknown[] = [];
const chain = (interceptors: readonly Interceptor[], kind: HandlerCall['kind'] = 'query') => {
  const found = interceptFor(interceptors, kind, (...of) => failedHooks.push(of));
  if (found === undefined) throw new Error('no interceptor is for this kind');
  return found;
};
/** One that writes down what it is told. */
function telling(name: string, told: string[], more: InterceptorHooks = {}): Interceptor {
  return interceptor({
    name,
    before: ({ type }) => void told.push(`${name} before ${type}`),
    after: (_call, result) => void told.push(`${name} after ${String(result)}`),
    onError: (_call, error) => void told.push(`${name} error ${error instanceof Error ? error.message : error}`),
    ...more,
  });
}

describe('interceptors around a handler', () => {
  test('run in order before it and in reverse after it', () => {
    const told: string[] = [];
    expect(chain([telling('a', told), telling('b', told)]).sync(call, () => 7)).toBe(7);
    expect(told).toEqual(['a before q', 'b before q', 'b after 7', 'a after 7']);
  });

  test('learn its error in reverse, and the error goes on', () => {
    const told: string[] = [];
    const fail = (): never => {
      throw new Error('broken');
    };
    expect(() => chain([telling('a', told), telling('b', told)]).sync(call, fail)).toThrow('broken');
    expect(told).toEqual(['a before q', 'b before q', 'b error broken', 'a error broken']);
  });

  test('a `before` that throws is the error: the handler does not run, and those that began are told', () => {
    const told: string[] = [];
    const veto = (): never => {
      throw new Error('not today');
    };
    const around = chain([telling('a', told), telling('b', told, { before: veto }), telling('c', told)]);
    expect(() => around.sync(call, () => told.push('ran'))).toThrow('not today');
    expect(told).toEqual(['a before q', 'a error not today']);
  });

  test('what `after` and `onError` throw is reported and changes nothing', async () => {
    failedHooks.length = 0;
    const broken = interceptor({
      name: 'broken',
      after: () => {
        throw new Error('after');
      },
      onError: async () => {
        throw new Error('async');
      },
    });
    expect(chain([broken]).sync(call, () => 1)).toBe(1);
    await expect(chain([broken]).async(call, () => Promise.reject(new Error('own')))).rejects.toThrow('own');
    await Promise.resolve();
    expect(failedHooks).toMatchObject([
      ['broken', 'after', { message: 'after' }],
      ['broken', 'onError', { message: 'async' }],
    ]);
  });

  test('of handlers that take time run after they settled, with the time', async () => {
    const times: number[] = [];
    const around = chain([interceptor({ name: 't', after: (_call, _result, ms) => times.push(ms) })]);
    await around.async(call, () => new Promise((resolve) => setTimeout(resolve, 20)));
    expect(times[0]).toBeGreaterThanOrEqual(15);
  });

  test('are only asked for their kinds; without any there is nothing at all around handlers', () => {
    const only = interceptor({ name: 'only', kinds: ['saga'] });
    expect(interceptFor([only], 'query', () => undefined)).toBeUndefined();
    expect(interceptFor([only], 'saga', () => undefined)).toBeDefined();
    expect(interceptFor([], 'saga', () => undefined)).toBeUndefined();
  });

  test('add to the baggage, and the caller is right', () => {
    const meta = { correlationId: 'c', causationId: null, actor: null, tenant: 't', traceparent: null, client: null };
    const around = chain([interceptor({ name: 'x', baggage: () => ({ build: '7', region: 'eu' }) })]);
    expect(around.meta({ ...call, meta })).toEqual({ ...meta, baggage: 'build=7,region=eu' });
    expect(around.meta({ ...call, meta: { ...meta, baggage: 'build=6' } }).baggage).toBe('build=6,region=eu');
    const without = { ...call, meta };
    expect(chain([interceptor({ name: 'y' })]).meta(without)).toBe(meta);
  });
});

describe('the model', () => {
  const order = aggregate({
    name: 'order',
    events: { Placed: z.object({ n: z.int() }) },
    commands: { Place: z.object({ n: z.int() }) },
    initial: () => null,
    evolve: { Placed: () => null },
    decide: { Place: (_state, data) => ({ type: 'Placed', data }) },
  });
  const orders = view('orders', z.object({ id: z.string(), n: z.int() }));
  const parts = [
    order,
    orders,
    projector({
      name: 'p',
      version: 1,
      from: [order],
      into: orders,
      on: { Placed: (_doc, { data }, id) => ({ id, n: data.n }) },
    }),
    query({ name: 'q', input: z.object({}), output: z.int(), run: async () => 3 }),
    saga({
      name: 's',
      from: [order],
      initial: () => 0,
      on: { Placed: () => ({ state: 1 }) },
      onTimer: { late: () => ({ end: true }) },
      onRejected: () => ({ end: true }),
    }),
    observer({ name: 'o', from: [order], on: { Placed: async () => undefined } }),
    service({
      name: 'v',
      events: { Charged: z.object({}) },
      commands: { Charge: z.object({}) },
      handle: { Charge: async () => ({ type: 'Charged', data: {} }) },
    }),
  ] as const;
  const meta = { correlationId: 'c', causationId: null, actor: null, tenant: 't', traceparent: null, client: null };
  const event: AnyRecorded = {
    id: 'e1',
    type: 'Placed',
    data: { n: 1 },
    schemaVersion: 1,
    stream: { tenant: 't', aggregate: 'order', id: '1', version: 1 },
    position: 1,
    commandId: 'c1',
    at: new Date(0),
    meta,
  };

  test('stays the very same value without interceptors', () => {
    const model = buildModel([module({ name: 'm', parts: [...parts] })]);
    expect(interceptModel(model, () => undefined)).toBe(model);
  });

  test('has them around every kind of handler, each with what it handles', async () => {
    const calls: string[] = [];
    const watch = interceptor({
      name: 'watch',
      after: ({ kind, name, type, attempt, meta: of }, result) =>
        void calls.push(`${kind} ${name} ${type} #${attempt} ${of?.correlationId} ${JSON.stringify(result)}`),
    });
    const model = interceptModel(buildModel([module({ name: 'm', parts: [...parts, watch] })]), () => undefined);
    const signal = new AbortController().signal;
    const once = async <T>(_key: string, fn: () => T | Promise<T>): Promise<T> => fn();
    for (const consumer of model.consumers) {
      if (consumer.kind === 'projector') withAttempt(4, () => consumer.projector.project(undefined, event, '1'));
      if (consumer.kind === 'observer') {
        await consumer.observer.observe(event, { idempotencyKey: 'k', attempt: 2, signal, once });
      }
      if (consumer.kind === 'saga') {
        const ctx = { id: '1', now: new Date(0), newId: () => 'x' };
        consumer.saga.onEvent(0, event, ctx);
        withAttempt(3, () => consumer.saga.onTimer(0, { name: 'late', dueAt: ctx.now, lateMs: 0 }, ctx));
        const rejection = {
          commandId: 'x',
          aggregate: 'order',
          id: '1',
          type: 'Place',
          data: {},
          code: 'NO',
          reason: '',
        };
        consumer.saga.onRejected(0, rejection, ctx);
      }
    }
    await model.queries.get('q')?.run({} as never, () => ({}) as never);
    const ctx = {
      commandId: 'x',
      idempotencyKey: 'x',
      attempt: 5,
      signal,
      now: new Date(0),
      newId: () => '',
      meta,
      once,
    };
    await model.services
      .get('v')
      ?.definition.run('Charge', {}, { ...ctx, reject: (rejected, reason) => ({ rejected, reason }) });
    expect(calls).toEqual([
      'projector p Placed #4 c {"id":"1","n":1}',
      'saga s Placed #1 c {"state":1}',
      'saga s late #3 undefined {"end":true}',
      'saga s Place #1 undefined {"end":true}',
      'observer o Placed #2 c undefined',
      'query q q #1 undefined 3',
      'service v Charge #5 c {"type":"Charged","data":{}}',
    ]);
    expect(model.projectorOf.get('orders')).toBe(model.consumers[0]);
  });
});
