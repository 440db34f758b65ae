import { subscribe as listen } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { expect, test } from 'vitest';
import WebSocket from 'ws';
import { bank } from '../../examples/bank/module.ts';
import { limits } from '../../src/gateway/limits.ts';
import { socketUrl, startBank } from '../setup/gateway.ts';
import { subscribe, testSocket } from '../setup/socket.ts';
import { until } from '../setup/until.ts';

const BEAT_MS = 1_000;
// As a gateway does in 12 s.
Object.assign(limits, { heartbeatIntervalMs: BEAT_MS });

const waiting = new Set<() => void>();
const builder = createSchemaBuilder();
exposeModule(builder, bank);
builder.queryFields((t) => ({
  /** Answers when the test lets it. */
  slow: t.string({ resolve: () => new Promise<string>((resolve) => waiting.add(() => resolve('done'))) }),
  /** One megabyte. */
  large: t.string({ resolve: () => 'x'.repeat(1_000_000) }),
}));
/** The gateway's ends of the connections. */
const accepted: Socket[] = [];
listen('net.server.socket', (message) => accepted.push((message as { readonly socket: Socket }).socket));
const gateway = await startBank({ schema: builder.toSchema() });
const socket = () => testSocket(socketUrl(gateway.url));
const alive = async (): Promise<void> => {
  expect((await (await socket()).answer('{ __typename }')).payload).toEqual({ data: { __typename: 'Query' } });
};
/** Waits for so many heartbeats of the gateway, as another client sees them. */
async function beats(count: number): Promise<void> {
  const witness = await socket();
  let seen = 0;
  witness.ws.on('ping', () => {
    seen += 1;
  });
  await until(`${count} heartbeats`, () => seen >= count || undefined);
  witness.ws.terminate();
}

/** Waits until the gateway holds more for this client than it may. */
async function untilBehind({ wire }: { readonly wire: Socket }): Promise<void> {
  const waitingBytes = () => accepted.find(({ remotePort }) => remotePort === wire.localPort)?.writableLength;
  await until('the client to be behind', () => (waitingBytes() ?? 0) > limits.socketBufferedMaxBytes || undefined, {
    seen: waitingBytes,
  });
}

test('a client that reads nothing loses its socket, whatever it sends', async () => {
  const one = await socket();
  one.wire.pause();
  for (let i = 0; i < 60; i++) one.send(subscribe('{ large }', String(i)));
  const pongs = setInterval(() => one.ws.pong(), BEAT_MS / 5);
  await until('the socket to be ended', () => one.wire.destroyed || undefined);
  clearInterval(pongs);
  await alive();
});

test('a client that pauses and goes on gets all its answers', async () => {
  const one = await socket();
  one.wire.pause();
  for (let i = 0; i < 60; i++) one.send(subscribe('{ large }', String(i)));
  await untilBehind(one);
  one.send(subscribe('{ __typename }', 'more'));
  one.wire.resume();
  await until('60 large answers', () => one.messages.filter(({ type }) => type === 'next').length === 61 || undefined);
});

test('a client that reads slowly, but steadily, keeps its socket', async () => {
  const one = await socket();
  one.wire.pause();
  for (let i = 0; i < 60; i++) one.send(subscribe('{ large }', String(i)));
  await untilBehind(one);
  // About 3 MB from beat to beat, where one write carries ten times as much.
  const shareBytes = 3_000_000 / 20;
  let shareEnd = 0;
  one.wire.on('data', () => {
    if (one.wire.bytesRead >= shareEnd) one.wire.pause();
  });
  const reading = setInterval(() => {
    shareEnd = one.wire.bytesRead + shareBytes;
    one.wire.resume();
  }, BEAT_MS / 20);
  await beats(5);
  await untilBehind(one);
  clearInterval(reading);
  shareEnd = Number.POSITIVE_INFINITY;
  one.wire.resume();
  await until('60 large answers', () => one.messages.filter(({ type }) => type === 'next').length === 60 || undefined);
});

test('a client whose refusals made it fall behind is read again when it has taken them', async () => {
  const one = await socket();
  const id = 'x'.repeat(limits.socketMessageMaxBytes - 1_000);
  one.send(subscribe('{ slow }', id));
  await until('the operation to run', () => waiting.size > 0 || undefined);
  one.wire.pause();
  one.send(JSON.stringify({ id, type: 'complete' }));
  for (let i = 0; i < 250; i++) one.send(subscribe('{ __typename }', id));
  await untilBehind(one);
  one.wire.resume();
  expect((await one.answer('{ __typename }')).type).toBe('next');
  expect(one.messages.filter(({ type }) => type === 'error')).toHaveLength(250);
  for (const release of waiting) release();
  waiting.clear();
});

test('a client whose operations are slow keeps its socket', async () => {
  const one = await socket();
  for (let i = 0; i < limits.socketOperationsMaxCount + 10; i++) one.send(subscribe('{ slow }', String(i)));
  await until('all that run at once', () => waiting.size >= limits.socketOperationsMaxCount || undefined);
  await beats(4);
  const answers = () => one.messages.filter(({ type }) => type === 'next').length;
  await until('all answers', () => {
    for (const release of waiting) release();
    return answers() === limits.socketOperationsMaxCount + 10 || undefined;
  });
  // And it is alive to the beats that follow.
  await beats(2);
  expect((await one.answer('{ __typename }')).type).toBe('next');
});

test('a flood of pings from a client that does not read ends its socket, and others are served meanwhile', async () => {
  const flood = await socket();
  flood.wire.pause();
  const ping = JSON.stringify({ type: 'ping', payload: { fill: 'x'.repeat(100_000) } });
  let gone = false;
  flood.ws.on('close', () => {
    gone = true;
  });
  const pump = async (): Promise<void> => {
    for (let i = 0; i < 2_000 && !gone && flood.ws.readyState === WebSocket.OPEN; i++) {
      await new Promise<void>((resolve) => flood.ws.send(ping, () => resolve()));
    }
  };
  const pumping = Promise.race([pump(), flood.closing()]);
  await alive();
  await pumping;
  flood.wire.destroy();
  await alive();
});
