import { randomUUID } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandWorker } from '../../src/engine/commands/command-worker.ts';
import { ServerClock } from '../../src/engine/concurrency/server-clock.ts';
import type { CommandStatus } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import type { RunningApp } from '../../src/start.ts';
import type { CommitDocument, QueuedCommandDocument } from '../../src/store/documents.ts';
import { createQueuedCommandStore } from '../../src/store/queued-commands.ts';
import { startCardNetwork } from '../setup/card-network.ts';
import { startCommandApp } from '../setup/command-app.ts';
import { post } from '../setup/gateway.ts';
import { testServers } from '../setup/servers.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';
import { sumAggregate } from '../setup/sum-aggregate.ts';
import { tillService } from '../setup/till-parts.ts';
import { until } from '../setup/until.ts';

/** Processes that die or stand still while they carry out commands. */
const network = await startCardNetwork();
const { till, chargedView, charges } = tillService(network.url);
const sum = sumAggregate();
const parts = [till, chargedView, charges, sum];
const processes: SourceProcess[] = [];
let client: MongoClient;

beforeAll(async () => {
  client = await MongoClient.connect(testServers().mongoUrl);
});
afterAll(async () => {
  for (const { child } of processes) child.kill('SIGKILL');
  await Promise.all(processes.map(({ exited }) => exited));
  await client.close();
});

async function stage() {
  const { mongoUrl, redisUrl, database, prefix } = testServers();
  const servers = { mongoUrl, redisUrl, database, prefix };
  const db = client.db(database);
  const startProcess = (role: 'worker' | 'all', env: NodeJS.ProcessEnv = {}) => {
    const args = [role, mongoUrl, redisUrl, database, prefix, network.url];
    const started = startSource('test/setup/processes/till-worker.ts', args, { ...process.env, ...env });
    processes.push(started);
    return started;
  };
  const commitsOf = (commandId: string) =>
    db.collection<CommitDocument>('commits').find({ 'command.id': commandId }).toArray();
  const queued = db.collection<QueuedCommandDocument>('queued_commands');
  return { servers, startProcess, commitsOf, queued };
}
async function end(token: string, of: RunningApp): Promise<CommandStatus> {
  let last: CommandStatus | undefined;
  for await (const status of of.runtime.watchCommand(token, AbortSignal.timeout(60_000))) last = status;
  return last!;
}
const requestsFor = (commandId: string) =>
  network.seen.filter(({ idempotencyKey }) => idempotencyKey.endsWith(commandId));
async function charge(app: RunningApp, card: string, commandId: string): Promise<string> {
  const outcome = await app.send(till, undefined, { type: 'Charge', data: { card, amount: 9 } }, { commandId });
  if (outcome.kind !== 'queued') throw new Error(JSON.stringify(outcome));
  return outcome.token;
}

test('a worker that is killed in the middle of a command leaves it to another: one key, one event', async () => {
  const { servers, startProcess, commitsOf } = await stage();
  const gateway = await startCommandApp(servers, parts, { role: 'gateway' });
  const first = startProcess('worker');
  network.script('killed', ['hang']);
  const commandId = randomUUID();
  const token = await charge(gateway, 'killed', commandId);
  await until('the request of the first try', () => requestsFor(commandId)[0], { seen: first.errors });
  first.child.kill('SIGKILL');
  await first.exited;
  await startCommandApp(servers, parts, { role: 'worker' });
  expect(await end(token, gateway)).toMatchObject({ status: 'ACCEPTED', attempts: 1, receipt: { version: 1 } });
  expect(new Set(requestsFor(commandId).map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1);
  expect(requestsFor(commandId)).toHaveLength(2);
  expect(await commitsOf(commandId)).toHaveLength(1);
});

test('a worker that stands still loses its command, and changes nothing when it goes on', async () => {
  const { servers, startProcess, commitsOf, queued } = await stage();
  const gateway = await startCommandApp(servers, parts, { role: 'gateway' });
  const first = startProcess('worker');
  // None of its three tries ends before it stands still.
  network.script('still', ['wait', 'wait', 'wait']);
  const commandId = randomUUID();
  const token = await charge(gateway, 'still', commandId);
  await until('the request of the first try', () => requestsFor(commandId)[0], { seen: first.errors });
  first.child.kill('SIGSTOP');
  const ofFirst = requestsFor(commandId).length;
  network.script('still', []);
  await startCommandApp(servers, parts, { role: 'worker' });
  expect(await end(token, gateway)).toMatchObject({ status: 'ACCEPTED' });
  // The other one did it.
  expect(requestsFor(commandId).length).toBeGreaterThan(ofFirst);
  const [before] = await commitsOf(commandId);
  expect(before).toBeDefined();
  first.child.kill('SIGCONT');
  network.release();
  // It has the answer of its own request, or none, and ends this command before it takes the next.
  const next = randomUUID();
  expect(await end(await charge(gateway, 'still', next), gateway)).toMatchObject({ status: 'ACCEPTED' });
  expect(await commitsOf(commandId)).toEqual([before]);
  expect(await queued.findOne({ commandId })).toMatchObject({ state: 'ACCEPTED' });
});

test('a process that dies between its answer and the work leaves no command behind', async () => {
  const { servers, startProcess, queued } = await stage();
  // It dies when the first of these commands is about to be written.
  const { line, exited } = startProcess('all', { MILLRACE_CRASH: 'before-append' });
  const url = await line();
  const other = await startCommandApp(servers, parts, { role: 'gateway' });
  const ids = Array.from({ length: 20 }, () => randomUUID());
  const fields = ids.map((id, index) => `c${index}: add(id: "${id}", input: { by: 1 }, mode: QUEUED) { __typename }`);
  const sent = await Promise.allSettled([post(url, JSON.stringify({ query: `mutation { ${fields.join(' ')} }` }))]);
  await exited;
  const stored = await queued.countDocuments();
  expect(stored).toBeGreaterThan(0);
  expect(sent[0]?.status === 'rejected' || stored === ids.length).toBe(true);
  await startCommandApp(servers, parts, { role: 'worker' });
  // Its last write may have come after its death.
  await until(
    'all that was stored is accepted',
    async () => (await queued.countDocuments({ state: { $ne: 'ACCEPTED' } })) === 0 || undefined,
  );
  const [one] = await queued.find().toArray();
  expect(await other.runtime.findCommand('sum', one!.id, one!.commandId)).toMatchObject({ receipt: { version: 1 } });
});

test('a handler that kills its process again and again is found', async () => {
  const { servers, queued } = await stage();
  const app = await startCommandApp(servers, parts);
  const commandId = randomUUID();
  const sendAt = new Date(Date.now() + 3_600_000);
  const data = { card: 'deadly', amount: 1 };
  const outcome = await app.send(till, undefined, { type: 'Charge', data }, { commandId, sendAt });
  if (outcome.kind !== 'queued') throw new Error(JSON.stringify(outcome));
  // As ten processes would have left it.
  await queued.updateOne({ commandId }, { $set: { interruptions: 10, dueAt: new Date() } });
  expect(await end(outcome.token, app)).toMatchObject({ status: 'DEAD', error: { code: 'CRASHED' } });
  expect(requestsFor(commandId)).toHaveLength(0);
  expect(await app.runtime.retryCommand(outcome.token, { reason: 'mended' })).toMatchObject({ status: 'RECEIVED' });
  expect(await end(outcome.token, app)).toMatchObject({ status: 'ACCEPTED', attempts: 1 });
});

test('a decision that kills its process is found, and what was in hand beside it is carried out', async () => {
  const { servers, startProcess, queued } = await stage();
  const gateway = await startCommandApp(servers, parts, { role: 'gateway' });
  const add = async (by: number): Promise<string> => {
    const outcome = await gateway.send(sum, randomUUID(), { type: 'Add', data: { by } }, { mode: 'QUEUED' });
    if (outcome.kind !== 'queued') throw new Error(JSON.stringify(outcome));
    return outcome.token;
  };
  const deadly = await add(666);
  const others = await Promise.all(Array.from({ length: 20 }, (_, by) => add(by)));
  // As nine processes would have left it.
  await queued.updateOne({ 'data.by': 666 }, { $set: { interruptions: 9 } });
  // It may die before it has said that it runs.
  await startProcess('worker', { SWEEP_INTERVAL_MS: '250' }).exited;
  // Four seconds later.
  await queued.updateOne({ 'data.by': 666 }, { $set: { dueAt: new Date() } });
  await startCommandApp(servers, parts, { role: 'worker' });
  expect(await end(deadly, gateway)).toMatchObject({ status: 'DEAD', error: { code: 'CRASHED' } });
  for (const token of others) expect(await end(token, gateway)).toMatchObject({ status: 'ACCEPTED' });
  expect(await queued.countDocuments({ state: 'ACCEPTED', interruptions: { $exists: true } })).toBe(0);
  // Mended: this process has other code.
  expect(await gateway.runtime.retryCommand(deadly, { reason: 'mended' })).toMatchObject({ status: 'RECEIVED' });
  expect(await end(deadly, gateway)).toMatchObject({ status: 'ACCEPTED', attempts: 1 });
});

test('a command whose process died twice runs with none beside it, and only deaths count against it', async () => {
  const { servers, queued } = await stage();
  const gateway = await startCommandApp(servers, parts, { role: 'gateway' });
  const meta = { mode: 'QUEUED' } as const;
  for (let by = 0; by < 30; by++) await gateway.send(sum, `s${by}`, { type: 'Add', data: { by } }, meta);
  const leave = (by: number, begunBy: string, interruptions: number) =>
    queued.updateOne({ 'data.by': by }, { $set: { state: 'RUNNING', begunBy, interruptions } });
  for (const by of [3, 9, 27]) await leave(by, 'dead', 1);
  await leave(5, 'dead', 8);
  await leave(6, 'dead', 9);
  await leave(7, 'living', 9);
  await leave(8, 'me', 9);
  const beside = new Map<number, number>();
  const running = new Set<number>();
  const store = createQueuedCommandStore(client, client.db(servers.database));
  const worker = new CommandWorker({
    ...{ store, model: gateway.runtime.model, instanceId: 'me', hasDied: async (id) => id === 'dead' },
    clock: new ServerClock(async () => Date.now()),
    services: { run: () => Promise.reject(new Error('none')), waits: () => false, letGo() {}, stop: async () => {} },
    logger: createLogger({ level: 'silent', pretty: false }),
    async handle(request) {
      const { by } = request.data as { readonly by: number };
      running.add(by);
      for (const one of running) beside.set(one, Math.max(beside.get(one) ?? 0, running.size));
      const outcome = await gateway.runtime.handle({ ...request, mode: 'NOW' });
      running.delete(by);
      return outcome;
    },
  });
  worker.takeUp(await queued.find().toArray());
  await until(
    'all are settled',
    async () => (await queued.countDocuments({ dueAt: { $exists: true } })) === 0 || undefined,
  );
  await worker.stop(1_000);
  expect(await queued.find({ state: { $ne: 'ACCEPTED' } }).toArray()).toMatchObject([
    { data: { by: 6 }, state: 'DEAD', interruptions: 10, error: { code: 'CRASHED' } },
  ]);
  expect([3, 5, 7, 8, 9, 27].map((by) => beside.get(by))).toEqual([1, 1, 1, 1, 1, 1]);
  expect(Math.max(...beside.values())).toBeGreaterThan(1);
  expect(await queued.findOne({ 'data.by': 5 })).toMatchObject({ interruptions: 9 });
  expect(await queued.findOne({ begunBy: { $exists: true } })).toBeNull();
});

test('a process that claims a command of a service anew has not died meanwhile', async () => {
  const { servers, queued } = await stage();
  const gateway = await startCommandApp(servers, parts, { role: 'gateway' });
  await charge(gateway, 'claimed', randomUUID());
  const store = createQueuedCommandStore(client, client.db(servers.database));
  const { _id } = (await queued.findOne())!;
  const claim = async (holder: string) => {
    const [claimed] = await store.claim([_id], holder, 0);
    return claimed?.kind === 'claimed' ? claimed.command.interruptions : claimed?.kind;
  };
  expect([await claim('one'), await claim('one'), await claim('two'), await claim('two')]).toEqual([0, 0, 1, 1]);
});
