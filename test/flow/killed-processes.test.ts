import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import { afterEach, expect, it } from 'vitest';
import WebSocket from 'ws';
import { verifyLog } from '../../src/engine/log/verify.ts';
import { connect } from '../../src/store/connect.ts';
import { createDeliveryStore } from '../../src/store/delivery-store.ts';
import { DEPOSIT, OPEN, postAnywhere, type RoleProcesses, roleProcesses } from '../setup/role-processes.ts';
import { type TestServers, testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

const WRITERS = 200;
const COMMANDS = 50;
const TOTAL = WRITERS * COMMANDS;

let processes: RoleProcesses | undefined;
afterEach(() => processes?.killAll());

it.each([
  ['nobody killed', false],
  ['a gateway and a worker killed at random moments', true],
])(
  '200 writers over two gateways, %s: nothing lost, nothing twice, each position once and in order',
  async (_what, kills) => {
    const servers = testServers();
    processes = roleProcesses(servers);
    const [first, second] = await Promise.all([processes.gateway(), processes.gateway()]);
    const ports = [first.port, second.port];
    const victims = { gateway: first, worker: processes.worker() };
    processes.worker();

    const tail = tailEvents(second.port);
    await until('the reader is at the end', () => tail.caughtUp() || undefined);

    const writing = new AbortController();
    const killing = kills ? keepKilling(processes, victims, writing.signal) : Promise.resolve();
    killing.catch(() => undefined);
    // Also when a writer fails: who kills starts processes, too.
    const sums = await write(ports).finally(() => {
      writing.abort();
      return killing;
    });

    await expectExact(servers, sums);
    await until('the reader saw the last position', () => tail.seen.at(-1) === TOTAL || undefined, {
      timeoutMs: 60_000,
      seen: () => tail.seen.at(-1),
    });
    expect(tail.seen).toEqual(Array.from({ length: TOTAL }, (_, i) => i + 1));
    await tail.end();
  },
  300_000,
);

/** Reads the log live; over one socket, and over the next from where it was when a slow machine loses that. */
function tailEvents(port: number) {
  const seen: number[] = [];
  let caughtUp = false;
  const reader = createClient({ url: `ws://127.0.0.1:${port}/graphql`, webSocketImpl: WebSocket, lazy: false });
  let cursor: string | null = null;
  const stream = reader.iterate<{ events: { signal: string; cursor: string; event: { position: string } | null } }>({
    query: 'subscription($after: Cursor) { events(after: $after) { signal cursor event { position } } }',
    variables: {
      get after() {
        return cursor;
      },
    },
  });
  const reading = (async () => {
    for await (const { data, errors } of stream) {
      if (errors !== undefined) throw new Error(JSON.stringify(errors));
      cursor = data?.events.cursor ?? cursor;
      caughtUp ||= data?.events.signal === 'CAUGHT_UP';
      if (data?.events.event != null) seen.push(Number(data.events.event.position));
    }
  })();
  const end = async (): Promise<void> => {
    await reader.dispose();
    await reading;
  };
  return { seen, caughtUp: () => caughtUp, end };
}

/** Kills the worker and the gateway in turn and starts each again, until `signal` and each at least once. */
async function keepKilling(
  processes: RoleProcesses,
  victims: { gateway: Awaited<ReturnType<RoleProcesses['gateway']>>; worker: ReturnType<RoleProcesses['worker']> },
  signal: AbortSignal,
): Promise<void> {
  for (let kills = 0; !signal.aborted || kills < 2; kills++) {
    await wait(700 + Math.random() * 1_500);
    const role = kills % 2 === 0 ? 'worker' : 'gateway';
    await victims[role].kill();
    await wait(500);
    if (role === 'worker') victims.worker = processes.worker();
    else victims.gateway = await processes.gateway(victims.gateway.port);
  }
}

/** Every command is acknowledged, each at the version that its writer expects. Returns the sum of each account. */
async function write(ports: readonly number[]): Promise<ReadonlyMap<string, number>> {
  const sums = new Map<string, number>();
  const writer = async (_: unknown, index: number): Promise<void> => {
    const id = `w${index}`;
    const route = index % 2 === 0 ? ports : [...ports].reverse();
    const opened = await postAnywhere<{ openAccount: unknown }>(route, OPEN, { id });
    expect(opened.openAccount).toEqual({ __typename: 'CommandAccepted' });
    for (let i = 0; i < COMMANDS - 1; i++) {
      const amount = 1 + ((index + i) % 9);
      const outcome = await postAnywhere<{ deposit: unknown }>(route, DEPOSIT, { id, commandId: randomUUID(), amount });
      expect(outcome.deposit).toMatchObject({ __typename: 'CommandAccepted', version: i + 2 });
      sums.set(id, (sums.get(id) ?? 0) + amount);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
  return sums;
}

async function expectExact(servers: TestServers, sums: ReadonlyMap<string, number>): Promise<void> {
  const { client, db } = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  let placed = 0;
  await until(
    `${TOTAL} events in the log`,
    async () => {
      placed = await db.collection('events').countDocuments();
      return placed === TOTAL || undefined;
    },
    { timeoutMs: 60_000, seen: () => placed },
  );
  await until(
    'the view is level',
    async () => {
      const documents = await db.collection<{ _id: string; balance: number }>('view_account_g1').find().toArray();
      return (
        (documents.length === WRITERS && documents.every(({ _id, balance }) => sums.get(_id) === balance)) || undefined
      );
    },
    { timeoutMs: 60_000 },
  );
  expect(await verifyLog(createDeliveryStore(client, db, 'main'))).toMatchObject({
    ok: true,
    commitCount: TOTAL,
    eventCount: TOTAL,
  });
  await client.close();
}
