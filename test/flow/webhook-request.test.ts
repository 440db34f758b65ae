import { type CloudEvent, HTTP } from 'cloudevents';
import { Webhook } from 'standardwebhooks';
import { beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  aggregate,
  buildModel,
  module,
  observer,
  RetryAfterError,
  type WebhookSpec,
  webhook,
} from '../../src/index.ts';
import { retryAfterMs } from '../../src/observers/http-post.ts';
import { type Received, type Receiver, startReceiver } from '../setup/receiver.ts';

/** What a webhook sends, and what it makes of the answer. */
const account = aggregate({
  name: 'account',
  events: { Opened: z.object({ owner: z.string() }), Closed: z.object({}) },
  commands: { Open: z.object({}) },
  initial: () => null,
  evolve: { Opened: () => null, Closed: () => null },
  decide: { Open: () => ({ type: 'Closed', data: {} }) },
});
type Spec = WebhookSpec<readonly [typeof account]>;
const secret = `whsec_${Buffer.from('a secret of thirty-two bytes, ok').toString('base64')}`;
const event = {
  id: '0190-event',
  type: 'Opened' as const,
  data: { owner: 'Ada Ω' },
  schemaVersion: 2,
  stream: { tenant: 'acme', aggregate: 'account', id: 'a/1', version: 3 },
  position: 42,
  commandId: 'command-1',
  at: new Date('2026-01-02T03:04:05.678Z'),
  meta: {
    correlationId: 'flow-1',
    causationId: null,
    actor: 'ada',
    tenant: 'acme',
    traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    client: null,
  },
};
const idempotencyKey = 'main/hook/0190-event';

let receiver: Receiver;
beforeEach(async () => {
  receiver = await startReceiver();
});
const hook = (spec: Partial<Spec> = {}) =>
  webhook<readonly [typeof account]>({ name: 'hook', from: [account], url: receiver.url, secret, ...spec });
const send = (spec?: Partial<Spec>, signal = AbortSignal.timeout(10_000)) =>
  hook(spec).observe(event, { idempotencyKey, attempt: 1, signal, once: (_key, fn) => Promise.resolve(fn()) });
const only = (): Received => {
  const [first, ...more] = receiver.received;
  if (first === undefined || more.length > 0)
    throw new Error(`one request was expected, not ${receiver.received.length}`);
  return first;
};
const thrown = (spec?: Partial<Spec>, signal?: AbortSignal): Promise<unknown> =>
  send(spec, signal).then(
    () => 'nothing was thrown',
    (error: unknown) => error,
  );

describe('a webhook', () => {
  it('sends a CloudEvent that the official SDK takes', async () => {
    await send();
    const { headers, body } = only();
    expect(headers['content-type']).toMatch(/^application\/cloudevents\+json/);
    const cloudEvent = HTTP.toEvent({ headers, body }) as CloudEvent;
    expect(cloudEvent.validate()).toBe(true);
    expect(cloudEvent.toJSON()).toMatchObject({
      specversion: '1.0',
      id: '0190-event',
      source: '/acme/account',
      type: 'Opened',
      subject: 'a/1',
      datacontenttype: 'application/json',
      data: { owner: 'Ada Ω' },
      correlationid: 'flow-1',
      causationid: 'command-1',
      sequence: '0000000000000042',
      streamversion: 3,
      traceparent: event.meta.traceparent,
    });
    expect(JSON.parse(body).time).toBe('2026-01-02T03:04:05.678Z');
    // The person who did it is nobody else's business.
    expect(body).not.toContain('"ada"');
  });
  it('signs it as Standard Webhooks has it: whoever knows the secret can check it, and nobody can change it', async () => {
    await send();
    const { headers, body } = only();
    expect(headers['webhook-id']).toBe(idempotencyKey);
    const signed = headers as Record<string, string>;
    expect(new Webhook(secret).verify(body, signed)).toMatchObject({ type: 'Opened' });
    expect(() => new Webhook(secret).verify(body.replace('Ada', 'Bob'), signed)).toThrow('No matching signature');
    expect(() => new Webhook(secret).verify(body, { ...signed, 'webhook-id': 'other' })).toThrow(
      'No matching signature',
    );
  });
  it('signs with the old and the new secret while one replaces the other', async () => {
    const other = `whsec_${Buffer.from('another secret, thirty-two bytes').toString('base64')}`;
    await send({ secret: [secret, other] });
    const { headers, body } = only();
    for (const one of [secret, other]) new Webhook(one).verify(body, headers as Record<string, string>);
  });
  it('sends what its author chose, where and under which source he said', async () => {
    await send({
      data: ({ type }) => ({ told: type }),
      source: 'https://bank.example',
      headers: { authorization: 'Bearer x' },
    });
    const { headers, body } = only();
    expect(JSON.parse(body)).toMatchObject({ data: { told: 'Opened' }, source: 'https://bank.example' });
    expect(headers.authorization).toBe('Bearer x');
  });
  it('handles all events of its sources, or those that it names', () => {
    expect(hook().handles).toEqual(['Opened', 'Closed']);
    expect(hook({ events: ['Closed'] }).handles).toEqual(['Closed']);
  });
});

describe('the answer to a webhook', () => {
  it.each([200, 201, 202, 204, 299])('%i: delivered', async (status) => {
    receiver.answer = (_, response) => response.writeHead(status).end();
    await send();
  });
  it('410: never again', async () => {
    receiver.answer = (_, response) => response.writeHead(410).end('we moved');
    expect(await thrown()).toMatchObject({
      name: 'NonRetryableError',
      message: expect.stringMatching(/410: we moved/),
    });
  });
  it.each([429, 503])('%i with Retry-After: not before that', async (status) => {
    receiver.answer = (_, response) => response.writeHead(status, { 'retry-after': '7' }).end();
    const error = await thrown();
    expect(error).toBeInstanceOf(RetryAfterError);
    expect(error).toMatchObject({ retryAfterMs: 7_000 });
  });
  it.each([400, 404, 429, 500, 503])('%i: again later', async (status) => {
    receiver.answer = (_, response) => response.writeHead(status).end('no');
    const error = await thrown();
    expect(error).toMatchObject({ name: 'Error', message: `${new URL(receiver.url).origin} answered ${status}: no` });
  });
  it('a redirect: not followed', async () => {
    const other = await startReceiver();
    receiver.answer = (_, response) => response.writeHead(307, { location: other.url }).end();
    expect(await thrown()).toMatchObject({ message: expect.stringMatching(/307.*Redirects are not followed/) });
    expect(other.received).toEqual([]);
  });
  it('a megabyte: not read, and not in the error', async () => {
    receiver.answer = (_, response) => {
      response.writeHead(500);
      response.write('x'.repeat(1_000_000));
      // And never an end.
    };
    const error = await thrown();
    expect((error as Error).message.length).toBeLessThan(400);
  });
  it('none before the deadline: aborted, naming the receiver and not its path', async () => {
    receiver.answer = () => undefined;
    const error = await thrown({}, AbortSignal.timeout(50));
    expect(error).toMatchObject({ message: expect.stringMatching(/^http:\/\/127.0.0.1:\d+ gave no answer/) });
  });
  it('none at all: says why', async () => {
    const gone = receiver.url;
    await receiver.close();
    expect(await thrown({ url: gone })).toMatchObject({
      message: expect.stringMatching(/gave no answer: .*ECONNREFUSED/),
    });
  });
  it.each([
    ['120', 120_000],
    ['Fri, 02 Jan 2026 03:04:15 GMT', 10_000],
    ['Thu, 01 Jan 2026 00:00:00 GMT', 0],
    ['soon', undefined],
    ['-3', undefined],
    ['1e9', undefined],
    [null, undefined],
  ])('Retry-After %s: %s ms', (header, expected) => {
    expect(retryAfterMs(header, Date.parse('2026-01-02T03:04:05Z'))).toBe(expected);
  });
});

describe('a webhook is refused at once', () => {
  it.each([
    ['without a URL', { url: undefined as never }, /`url` is no http or https URL/],
    ['with another scheme', { url: 'ftp://x' }, /`url` is no http or https URL/],
    ['with a password in its URL', { url: 'https://u:p@x.example' }, /user or password/],
    ['without a secret', { secret: undefined as never }, /whsec_/],
    ['with a short secret', { secret: 'whsec_YWJj' }, /3 bytes/],
    ['with no secrets', { secret: [] }, /at least one/],
    ['with headers that HTTP has not', { headers: { 'a b': 'c' } }, /headers/],
  ])('%s', (_, spec, message) => {
    expect(() => hook(spec)).toThrow(message);
  });
});

describe('an observer is refused at start', () => {
  it.each([
    [{ concurrency: 0 }, /`concurrency` must be a whole number from 1/],
    [{ timeoutMs: -1 }, /`timeoutMs`/],
    [{ rateLimit: { count: 0, perMs: 1_000 } }, /`rateLimit.count`/],
    [{ rateLimit: { count: 10 } as never }, /`rateLimit.perMs`/],
    [{ breaker: { failures: 0.5 } }, /`breaker.failures`/],
    [{ breaker: true as never }, /`breaker` must be/],
    [{ ordered: 'yes' as never }, /`ordered` must be true or false/],
    [{ attempts: 0 }, /`attempts`/],
  ])('with %o', (options, message) => {
    const bad = observer({ name: 'bad', from: [account], on: { Opened: () => undefined }, ...options });
    expect(() => buildModel([module({ name: 'm', parts: [account, bad] })])).toThrow(message);
  });
});
