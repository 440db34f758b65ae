import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { createClient } from 'graphql-ws';
import { Redis } from 'ioredis';
import { type Collection, MongoClient } from 'mongodb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { z } from 'zod';
import { commandSweep } from '../../src/engine/sweep/command-sweep.ts';
import { type CommandOutcome, type CommandQueued, type CommandStatus, service } from '../../src/index.ts';
import type { RunningApp } from '../../src/start.ts';
import type { QueuedCommandDocument } from '../../src/store/documents.ts';
import { createQueuedCommandStore, ensureQueuedCommands } from '../../src/store/queued-commands.ts';
import { startCommandApp } from '../setup/command-app.ts';
import { post, socketUrl } from '../setup/gateway.ts';
import { privateRedis, testServers } from '../setup/servers.ts';
import { type Bug, sumAggregate } from '../setup/sum-aggregate.ts';
import { until } from '../setup/until.ts';

const servers = { ...testServers(), redisUrl: (await privateRedis()).url };
const bug: Bug = { throwsCount: 0, decidedCount: 0 };
const sum = sumAggregate(bug);
let app: RunningApp;
let client: MongoClient;
let redis: Redis;

beforeAll(async () => {
  // A command that runs out of time on a slow machine is tried again, and then there is no order.
  app = await startCommandApp(servers, [sum], { env: { COMMAND_TIMEOUT_MS: '60000' } });
  client = await MongoClient.connect(servers.mongoUrl);
  redis = new Redis(servers.redisUrl);
});
afterAll(async () => {
  await client.close();
  redis.disconnect();
});

const stored = () => client.db(servers.database).collection<QueuedCommandDocument>('queued_commands');
const queue = async (id: string, by: number, more: object = {}): Promise<CommandQueued> =>
  queued(await app.send(sum, id, { type: 'Add', data: { by } }, { mode: 'QUEUED', ...more }));
function queued(outcome: CommandOutcome): CommandQueued {
  if (outcome.kind !== 'queued') throw new Error(`not queued: ${JSON.stringify(outcome)}`);
  return outcome;
}
/** All states of a command until it is settled. */
async function states(
  token: string,
  of: RunningApp = app,
  onState: (status: CommandStatus) => void = () => undefined,
): Promise<readonly CommandStatus[]> {
  const seen: CommandStatus[] = [];
  for await (const status of of.runtime.watchCommand(token, AbortSignal.timeout(45_000))) {
    // What follows is how its consumers come on.
    if (status.progress !== undefined) break;
    seen.push(status);
    onState(status);
  }
  return seen;
}
/** Its next try is the last one. Not while a try is under way: that one writes the number that it began with. */
const lastTryNext = (records: Collection<QueuedCommandDocument>, commandId: string): Promise<true> =>
  until('a command between its tries', async () => {
    const waits = { commandId, state: 'RUNNING', claim: { $exists: false }, begunBy: { $exists: false } } as const;
    return (await records.updateOne(waits, { $set: { attempts: 4 } })).matchedCount === 1 || undefined;
  });
const end = async (token: string, of: RunningApp = app): Promise<CommandStatus> => (await states(token, of)).at(-1)!;
const reached = (token: string, status: CommandStatus['status']) =>
  until(`command is ${status}`, async () => {
    const now = await app.runtime.commandByToken(token);
    return now?.status === status ? now : undefined;
  });

test('a queued command is answered at once, and then carried out', async () => {
  const id = randomUUID();
  const { token, commandId, correlationId } = await queue(id, 5);
  const seen = await states(token);
  expect(seen.map(({ status }) => status)).toEqual(['RECEIVED', 'RUNNING', 'ACCEPTED']);
  expect(seen.at(-1)).toMatchObject({
    commandId,
    attempts: 1,
    error: null,
    receipt: {
      kind: 'accepted',
      commandId,
      correlationId,
      id,
      version: 1,
      events: [{ type: 'Added', data: { by: 5 } }],
    },
  });
  expect(await app.runtime.findCommand('sum', id, commandId)).toMatchObject({ status: 'ACCEPTED' });
});

test('first tries of one stream run in the order received', async () => {
  const id = randomUUID();
  // Of two that are sent side by side either may be received first.
  const sent: CommandQueued[] = [];
  for (let by = 0; by < 50; by++) sent.push(await queue(id, by));
  const ends = await Promise.all(sent.map(({ token }) => end(token)));
  expect(ends.map(({ receipt }) => receipt)).toMatchObject(sent.map((_, index) => ({ version: index + 1 })));
});

test('a refusal is a state, and a repeat is refused alike', async () => {
  const id = randomUUID();
  const commandId = randomUUID();
  const { token } = await queue(id, -1, { commandId });
  expect((await states(token)).map(({ status }) => status)).toEqual(['RECEIVED', 'RUNNING', 'REJECTED']);
  expect(await end(token)).toMatchObject({ receipt: { kind: 'rejected', code: 'BELOW_ZERO' } });
  for (const mode of ['NOW', 'QUEUED'] as const) {
    const again = await app.send(sum, id, { type: 'Add', data: { by: -1 } }, { commandId, mode });
    expect(again).toMatchObject({ kind: 'rejected', code: 'BELOW_ZERO' });
  }
  const { token: late } = await queue(id, 1, { expectedVersion: 7 });
  expect(await end(late)).toMatchObject({ status: 'REJECTED', receipt: { code: 'VERSION_CONFLICT' } });
});

test('one commandId has one effect and one receipt, in whatever modes it is sent', async () => {
  for (const modes of [
    ['NOW', 'QUEUED'],
    ['QUEUED', 'NOW'],
    ['QUEUED', 'QUEUED'],
  ] as const) {
    const id = randomUUID();
    const commandId = randomUUID();
    const send = (mode: 'NOW' | 'QUEUED', by: number) =>
      app.send(sum, id, { type: 'Add', data: { by } }, { commandId, mode });
    const outcomes = await Promise.all([send(modes[0], 3), send(modes[1], 3)]);
    const receipt = await until('a receipt', async () => {
      const status = await app.runtime.findCommand('sum', id, commandId);
      return status?.receipt ?? undefined;
    });
    expect(receipt).toMatchObject({ kind: 'accepted', version: 1 });
    for (const outcome of outcomes) expect(['queued', 'accepted']).toContain(outcome.kind);
    const { token } = receipt as { token: string };
    expect(await send('NOW', 3)).toMatchObject({ kind: 'accepted', duplicate: true, version: 1, token });
    expect(await send('QUEUED', 3)).toMatchObject({ kind: 'accepted', duplicate: true, version: 1, token });
    for (const mode of modes) expect(await send(mode, 4)).toMatchObject({ code: 'IDEMPOTENCY_CONFLICT' });
  }
});

test('a command that waits is not the one that took its commandId meanwhile with other data', async () => {
  for (const by of [4, -4]) {
    const id = randomUUID();
    const commandId = randomUUID();
    const waits = await queue(id, 3, { mode: undefined, commandId, sendAt: new Date(Date.now() + 60_000) });
    const now = await app.send(sum, id, { type: 'Add', data: { by } }, { commandId });
    expect(now).toMatchObject(by > 0 ? { kind: 'accepted' } : { kind: 'rejected', code: 'BELOW_ZERO' });
    expect(await app.runtime.commandByToken(waits.token)).toMatchObject({ status: 'RECEIVED', receipt: null });
    // The address names what took effect.
    const taken = await app.runtime.findCommand('sum', id, commandId);
    expect(taken).toMatchObject({ status: by > 0 ? 'ACCEPTED' : 'REJECTED', sendAt: null, attempts: 1, error: null });
    if (by > 0) expect(await app.runtime.commandByToken(taken!.token)).toEqual(taken);
    await stored().updateOne({ commandId }, { $set: { notBefore: new Date() } });
    const refused = { status: 'REJECTED', receipt: { code: 'IDEMPOTENCY_CONFLICT' } };
    expect(await end(waits.token)).toMatchObject(refused);
    expect(await app.runtime.commandByToken(waits.token)).toMatchObject(refused);
  }
});

test('a decision that throws is tried again; then the command is dead until somebody retries it', async () => {
  bug.throwsCount = 1_000;
  const once = await queue(randomUUID(), 1);
  const tried = await states(once.token, app, ({ attempts }) => {
    // Not before somebody has seen that it failed.
    if (attempts > 0) bug.throwsCount = 0;
  });
  expect(tried.at(-1)).toMatchObject({ status: 'ACCEPTED', error: null });
  expect(tried.filter(({ status }) => status === 'RECEIVED')).toHaveLength(1);
  const failed = tried.find(({ attempts }) => attempts > 0);
  expect(failed).toMatchObject({
    status: 'RUNNING',
    error: { code: 'HANDLER_FAILED' },
    nextAttemptAt: expect.any(Date),
  });
  expect(tried.at(-1)!.attempts).toBeGreaterThan(failed!.attempts);
  // As it is between the append of its events and the write of its end.
  const noted = { code: 'HANDLER_FAILED', type: 'Error', message: 'the sum is broken', stack: '', fingerprint: 'x' };
  await stored().updateOne({ commandId: failed!.commandId }, { $set: { state: 'RUNNING', error: noted } });
  expect(await app.runtime.commandByToken(once.token)).toMatchObject({ status: 'ACCEPTED', error: null });

  const id = randomUUID();
  const commandId = `dead-${randomUUID()}`;
  bug.throwsCount = 1_000;
  // What cannot be decided is tried for half a minute; the test begins at the last try.
  const { token } = await queue(id, 2, { commandId });
  const running = await until('a failed try', async () => {
    const status = await app.runtime.commandByToken(token);
    return status !== undefined && status.attempts >= 1 ? status : undefined;
  });
  expect(running).toMatchObject({ status: 'RUNNING', error: { code: 'HANDLER_FAILED', message: 'the sum is broken' } });
  await lastTryNext(stored(), commandId);
  const dead = await reached(token, 'DEAD');
  expect(dead).toMatchObject({ attempts: 5, receipt: null, error: { type: 'Error' } });
  const jobs = new Queue('main-commands', { connection: { url: servers.redisUrl }, prefix: servers.prefix });
  const job = await until('the job in the failed set', async () =>
    (await jobs.getFailed()).find(({ data }) => data.command.endsWith(commandId)),
  );
  expect(Object.keys(job.data)).toEqual(['command']);
  expect(JSON.stringify(job)).not.toContain('broken');

  const list = await app.runtime.queuedCommands({ state: 'DEAD' }, { first: 10 });
  expect(list.edges.map(({ node }) => node)).toMatchObject([{ target: 'sum', id, type: 'Add', status: { commandId } }]);
  const reason = 'mended';
  await expect(app.runtime.retryCommand(token, { reason: ' ' })).rejects.toMatchObject({ code: 'REASON_MISSING' });
  bug.throwsCount = 0;
  expect(await app.runtime.retryCommand(token, { reason })).toMatchObject({ status: 'RECEIVED', attempts: 0 });
  expect(await end(token)).toMatchObject({ status: 'ACCEPTED', receipt: { version: 1 } });
  await expect(app.runtime.retryCommand(token, { reason })).rejects.toMatchObject({ code: 'COMMAND_NOT_DEAD' });
  await until('an empty failed set', async () => ((await jobs.getFailed()).length === 0 ? true : undefined));
  await jobs.close();
  const audit = await client.db(servers.database).collection('audit').find({ action: 'command.retry' }).toArray();
  expect(audit).toMatchObject([{ reason, before: { state: 'DEAD', attempts: 5 }, after: { state: 'RECEIVED' } }]);
});

test('in a rolling deploy, what older code refuses is left to newer code; what none takes is dead, and says why', async () => {
  const here = testServers();
  const printer = (copies: z.ZodType<number>) =>
    service({
      name: 'printer',
      commands: { Print: z.object({ copies }) },
      events: { Printed: z.object({ copies: z.int() }) },
      // That is about the handler, which older code does not call.
      attempts: 1,
      retryable: () => false,
      handle: { Print: async (data) => ({ type: 'Printed', data }) },
    });
  const [older, newer] = [printer(z.int().max(10)), printer(z.int())];
  const gateway = await startCommandApp(here, [sum, newer], { role: 'gateway' });
  const old = await startCommandApp(here, [sumAggregate(bug, z.int().max(10)), older], { role: 'worker' });
  const add = (by: number) =>
    gateway.send(sum, randomUUID(), { type: 'Add', data: { by } }, { mode: 'QUEUED' }).then(queued);
  const print = (copies: number) =>
    gateway.send(newer, undefined, { type: 'Print', data: { copies } }, { mode: 'QUEUED' }).then(queued);
  const refused = async ({ token }: CommandQueued): Promise<void> => {
    const status = await until('a try that older code refused', async () => {
      const now = await gateway.runtime.commandByToken(token);
      return now !== undefined && now.attempts >= 1 && now.error !== null ? now : undefined;
    });
    expect(status).toMatchObject({ status: 'RUNNING', error: { code: 'COMMAND_DATA_INVALID' } });
  };
  const records = client.db(here.database).collection<QueuedCommandDocument>('queued_commands');
  const [lost, fits] = [[await add(30), await print(30)], await add(5)];
  for (const one of lost) await refused(one);
  for (const { commandId } of lost) await lastTryNext(records, commandId);
  for (const [index, { token }] of lost.entries()) {
    const dead = await end(token, gateway);
    const path = index === 0 ? ['by'] : ['copies'];
    expect(dead).toMatchObject({ status: 'DEAD', attempts: 5, error: { issues: [{ path }] } });
  }
  expect(await end(fits.token, gateway)).toMatchObject({ status: 'ACCEPTED', attempts: 1 });
  // They have their tries for about twelve seconds: newer code comes within these.
  const late = [await add(20), await print(20)];
  for (const one of late) await refused(one);
  await startCommandApp(here, [sum, newer], { role: 'worker' });
  await old.stop();
  for (const { token } of late) {
    expect(await end(token, gateway)).toMatchObject({ status: 'ACCEPTED', error: null, receipt: { version: 1 } });
  }
});

test('a command is carried out at its time, and one that waits can be cancelled', async () => {
  const { token } = await queue(randomUUID(), 1, { mode: undefined, sendAt: new Date(Date.now() + 3_600_000) });
  expect(await app.runtime.commandByToken(token)).toMatchObject({ status: 'RECEIVED', sendAt: expect.any(Date) });
  const reason = 'not wanted any more';
  expect(await app.runtime.cancelCommand(token, { reason })).toMatchObject({
    status: 'CANCELLED',
    receipt: { code: 'CANCELLED', reason },
  });
  expect((await states(token)).map(({ status }) => status)).toEqual(['RECEIVED', 'CANCELLED']);
  await expect(app.runtime.cancelCommand(token, { reason })).rejects.toMatchObject({ code: 'COMMAND_NOT_WAITING' });

  const past = await queue(randomUUID(), 1, { sendAt: new Date(0) });
  expect(await end(past.token)).toMatchObject({ status: 'ACCEPTED', sendAt: null });
  const justPast = await queue(randomUUID(), 1, { sendAt: new Date() });
  expect(await end(justPast.token)).toMatchObject({ status: 'ACCEPTED', attempts: 1 });

  const lateMs: number[] = [];
  const due = Array.from({ length: 200 }, (_, index) => new Date(Date.now() + 1_500 + index * 5));
  const sent = await Promise.all(due.map((sendAt) => queue(randomUUID(), 1, { sendAt })));
  for (const [index, one] of sent.entries()) {
    const { receipt, updatedAt } = await end(one.token);
    expect(receipt?.kind).toBe('accepted');
    lateMs.push(updatedAt.getTime() - due[index]!.getTime());
  }
  expect(Math.min(...lateMs)).toBeGreaterThanOrEqual(-20);
});

test('delayed commands that nobody can carry out hide no younger ones that are overdue', async () => {
  const commandId = randomUUID();
  const { token } = await queue(randomUUID(), 1, { mode: undefined, commandId, sendAt: new Date(Date.now() + 60_000) });
  const { dueAt: _, ...waiting } = (await stored().findOne({ commandId }))!;
  const stuck = Array.from({ length: 2_000 }, (_none, index): QueuedCommandDocument => {
    const own = { _id: `stuck\u0000${index}`, targetKind: 'service', target: 'elsewhere' } as const;
    return { ...waiting, ...own, notBefore: new Date(Date.now() - 120_000 + index) };
  });
  await stored().insertMany(stuck);
  await until('all of them were taken up', async () =>
    (await stored().countDocuments({ target: 'elsewhere', dueAt: { $exists: true } })) === 2_000 ? true : undefined,
  );
  // As if nobody had been there at its time.
  await stored().updateOne({ commandId }, { $set: { notBefore: new Date(Date.now() - 60_000) } });
  expect(await end(token)).toMatchObject({ status: 'ACCEPTED', attempts: 1 });
  await stored().deleteMany({ target: 'elsewhere' });
});

test('the sweep finds what a clock that is ahead has put off, and seldom reads the many that only wait for a next try', async () => {
  const watched = await MongoClient.connect(servers.mongoUrl, { monitorCommands: true });
  const db = watched.db(testServers().database);
  const commandId = randomUUID();
  const { token } = await queue(randomUUID(), 1, { mode: undefined, commandId, sendAt: new Date(Date.now() + 60_000) });
  const { notBefore: _, ...waiting } = (await stored().findOne({ commandId }))!;
  await app.runtime.cancelCommand(token, { reason: 'a pattern only' });
  const later = new Date(Date.now() + 3_600_000);
  const retries = Array.from(
    { length: 3_000 },
    (_none, index): QueuedCommandDocument => ({
      ...{ ...waiting, _id: `retry\u0000${index}`, state: 'RUNNING', attempts: 7 },
      ...{ nextAttemptAt: later, dueAt: later },
    }),
  );
  const records = db.collection<QueuedCommandDocument>('queued_commands');
  await ensureQueuedCommands(db, new Set());
  await records.insertMany([...retries, { ...waiting, dueAt: later }]);
  let looks = 0;
  watched.on('commandStarted', ({ commandName, command }) => {
    if (commandName === 'find' && command.filter.nextAttemptAt !== undefined) looks++;
  });
  const taken: string[] = [];
  const round = commandSweep({
    store: createQueuedCommandStore(watched, db),
    clock: { now: async () => Date.now() },
    worker: { takeUp: (commands) => taken.push(...commands.map((command) => command.commandId)) },
    jobs: { add: () => undefined },
  });
  for (let count = 0; count < 10; count++) await round.run({ redisLost: false });
  expect(taken).toEqual([commandId]);
  expect(looks).toBeLessThan(10);
  await db.dropDatabase();
  await watched.close();
});

test('what cannot wait in a queue is refused as wrong data', async () => {
  const send = (options: object, data: object = { by: 1 }) =>
    app.runtime.handle({ aggregate: 'sum', id: 'x', type: 'Add', data, ...options });
  const far = new Date(8.64e15);
  expect(await send({ sendAt: far })).toMatchObject({ kind: 'invalid', issues: [{ path: ['sendAt'] }] });
  expect(await send({ sendAt: new Date(Number.NaN) })).toMatchObject({ issues: [{ path: ['sendAt'] }] });
  expect(await send({ mode: 'NOW', sendAt: new Date() })).toMatchObject({ issues: [{ path: ['mode'] }] });
  expect(await send({ mode: 'QUEUED', dryRun: true })).toMatchObject({ issues: [{ path: ['dryRun'] }] });
  expect(await send({ mode: 'QUEUED' }, { by: 'x' })).toMatchObject({ issues: [{ path: ['by'] }] });
  expect(await send({ mode: 'QUEUED' }, { by: 1, pin: '1234' })).toMatchObject({ issues: [{ path: ['pin'] }] });
});

test('a command that comes twice at once is begun at once, and other input under its id is refused', async () => {
  const send = (id: string, commandId: string, by: number) =>
    app.runtime.handle({ aggregate: 'sum', id, type: 'Add', data: { by }, commandId, mode: 'QUEUED' });
  const tookMs: number[] = [];
  for (let round = 0; round < 20; round++) {
    const id = randomUUID();
    // The first is on its way to the store; the others wait and are written together.
    const first = send(id, 'first', 1);
    const both = await Promise.all([send(id, 'twice', 2), send(id, 'twice', 3), first]);
    const taken = both.findIndex(({ kind }) => kind === 'queued');
    expect(both[1 - taken]).toMatchObject({ kind: 'rejected', code: 'IDEMPOTENCY_CONFLICT' });
    const last = await end((both[taken] as CommandQueued).token);
    expect(last).toMatchObject({ status: 'ACCEPTED', receipt: { events: [{ data: { by: 2 + taken } }] } });
    const stored = await app.runtime.findCommand('sum', id, 'twice');
    const [received] = await states(last.token);
    tookMs.push(stored!.updatedAt.getTime() - received!.updatedAt.getTime());
  }
  // The sweep, which looks for what stands still, had to find none of them; one may have met a machine that stopped for a moment.
  expect(tookMs.filter((ms) => ms >= 2_000).length).toBeLessThan(5);
});

test('a day that no calendar has is no time to send a command at', async () => {
  const at = async (sendAt: string) => {
    const query = `mutation($at: DateTime) { sendCommands(commands: [
      { aggregate: "sum", id: "day", type: "Add", input: { by: 1 }, sendAt: $at }]) {
        __typename ... on InvalidInput { issues { path } } } }`;
    const { data, errors } = await post(app.url!, JSON.stringify({ query, variables: { at: sendAt } }));
    expect(errors).toEqual([]);
    return data.sendCommands[0];
  };
  const wrong = { __typename: 'InvalidInput', issues: [{ path: ['sendAt'] }] };
  for (const day of ['2031-02-30', '2031-02-29', '2031-04-31', '2031-13-01', '2031-01-00']) {
    expect(await at(`${day}T00:00:00Z`)).toEqual(wrong);
  }
  expect(await at('2032-02-29T23:59:59.999+14:00')).toEqual({ __typename: 'CommandQueued' });
});

test('a client follows a queued command over graphql-ws, in a gateway without workers', async () => {
  const gateway = await startCommandApp(servers, [sum], { role: 'gateway' });
  const send = `mutation($id: ID!, $sendAt: DateTime) { add(id: $id, input: { by: 2 }, mode: QUEUED, sendAt: $sendAt) {
    __typename ... on CommandQueued { commandId correlationId token id } ... on InvalidInput { issues { path } } } }`;
  const ask = async (variables: object) => {
    const { data, errors } = await post(gateway.url!, JSON.stringify({ query: send, variables }));
    expect(errors).toEqual([]);
    return data.add;
  };
  const outcome = await ask({ id: randomUUID() });
  expect(outcome.__typename).toBe('CommandQueued');
  const subscription = `subscription($token: Token!) { commandStatus(token: $token) {
    status attempts settled consumers { name kind state } error { code } receipt { __typename ... on CommandAccepted { version token } } } }`;
  const socket = createClient({ url: socketUrl(gateway.url!), webSocketImpl: WebSocket, retryAttempts: 0 });
  const seen: unknown[] = [];
  for await (const { data } of socket.iterate<{ commandStatus: unknown }>({
    query: subscription,
    variables: { token: outcome.token },
  })) {
    seen.push(data?.commandStatus);
  }
  expect(seen.slice(0, 3)).toMatchObject([
    { status: 'RECEIVED', receipt: null, settled: false, consumers: [] },
    { status: 'RUNNING', settled: false },
    { status: 'ACCEPTED', attempts: 1, receipt: { __typename: 'CommandAccepted', version: 1 } },
  ]);
  expect(seen.at(-1)).toMatchObject({ status: 'ACCEPTED', settled: true });
  for (const sendAt of ['+010000-01-01T00:00:00Z', 'tomorrow', '2026-01-01']) {
    expect(await ask({ id: 'x', sendAt })).toEqual({ __typename: 'InvalidInput', issues: [{ path: ['sendAt'] }] });
  }
  await socket.dispose();
});

test('a thousand queued commands survive the loss of Redis', async () => {
  const gateway = await startCommandApp(servers, [sum], { role: 'gateway' });
  const id = randomUUID();
  // The workers are stopped, so that all thousand wait when Redis loses everything.
  await app.stop();
  const send = (by: number) => gateway.send(sum, `${id}-${by % 50}`, { type: 'Add', data: { by } }, { mode: 'QUEUED' });
  const outcomes = await Promise.all(Array.from({ length: 1_000 }, (_, by) => send(by)));
  const sent = outcomes.map((outcome) => queued(outcome).token);
  await redis.flushall();
  app = await startCommandApp(servers, [sum]);
  const begunAt = performance.now();
  await until(
    'all thousand accepted',
    async () => {
      const count = await stored().countDocuments({ state: 'ACCEPTED', id: { $regex: `^${id}` } });
      return count === 1_000 ? true : undefined;
    },
    { seen: () => performance.now() - begunAt },
  );
  const versions = await Promise.all(
    sent.filter((_, index) => index % 50 === 7).map(async (token) => (await end(token, gateway)).receipt),
  );
  const numbers = versions.map((receipt) => (receipt?.kind === 'accepted' ? receipt.version : null));
  expect(numbers.sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
});
