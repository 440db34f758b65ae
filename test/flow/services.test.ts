import { randomUUID } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CommandOutcome, CommandStatus } from '../../src/index.ts';
import type { RunningApp } from '../../src/start.ts';
import type { CommitDocument } from '../../src/store/documents.ts';
import { startCardNetwork } from '../setup/card-network.ts';
import { startCommandApp } from '../setup/command-app.ts';
import { post } from '../setup/gateway.ts';
import { testServers } from '../setup/servers.ts';
import { tillService } from '../setup/till-parts.ts';
import { until } from '../setup/until.ts';

const network = await startCardNetwork();
const servers = testServers();
const { till, chargedView, charges } = tillService(network.url);
const parts = [till, chargedView, charges];
let app: RunningApp;
let client: MongoClient;

beforeAll(async () => {
  app = await startCommandApp(servers, parts);
  client = await MongoClient.connect(servers.mongoUrl);
});
afterAll(() => client.close());

const tokenOf = (outcome: CommandOutcome): string => {
  if (outcome.kind !== 'queued') throw new Error(`not queued: ${JSON.stringify(outcome)}`);
  return outcome.token;
};
const charge = async (card: string, amount = 100, of = app, commandId: string = randomUUID()) =>
  tokenOf(await of.send(till, undefined, { type: 'Charge', data: { card, amount } }, { commandId }));
const misbehave = async (how: string) => tokenOf(await app.send(till, undefined, { type: 'Misbehave', data: { how } }));
async function end(token: string, of = app, onStatus = (): unknown => undefined): Promise<CommandStatus> {
  let last: CommandStatus | undefined;
  for await (const status of of.runtime.watchCommand(token, AbortSignal.timeout(45_000))) {
    last = status;
    onStatus();
  }
  return last!;
}
const seenOf = (card: string) => network.seen.filter((one) => one.card === card);
/** The network hears a moment later that a client went away. */
async function abandoned(count: number): Promise<void> {
  await until('the request to be given up', () => network.abandonedCount >= count || undefined);
  expect(network.abandonedCount).toBe(count);
}
const commitsOf = (commandId: string, database = servers.database) =>
  client.db(database).collection<CommitDocument>('commits').find({ 'command.id': commandId }).toArray();

test('a command of a service is answered at once, runs in a worker, and its event is read like any other', async () => {
  const send = `mutation($id: ID!) { charge(commandId: $id, input: { card: "visa", amount: 250 }) {
    __typename ... on CommandQueued { id commandId token } } }`;
  const commandId = randomUUID();
  const { data, errors } = await post(app.url!, JSON.stringify({ query: send, variables: { id: commandId } }));
  expect(errors).toEqual([]);
  expect(data.charge).toMatchObject({ __typename: 'CommandQueued', id: commandId, commandId });
  const status = await end(data.charge.token);
  expect(status).toMatchObject({
    status: 'ACCEPTED',
    receipt: { id: commandId, version: 1, events: [{ type: 'Charged', data: { card: 'visa', amount: 250 } }] },
  });
  expect(await app.runtime.findCommand('till', commandId, commandId)).toMatchObject({ status: 'ACCEPTED' });
  const { token } = status.receipt as { token: string };
  const read = await app.runtime.document('charged', 'visa', { atLeast: token });
  expect(read?.document).toEqual({ id: 'visa', total: 250 });
  // The token of the answer names the command, before anybody knows what comes of it.
  const early = await charge('early', 3);
  const soon = await app.runtime.document('charged', 'early', { atLeast: early });
  expect(soon?.document).toEqual({ id: 'early', total: 3 });
  network.script('declined', ['decline']);
  expect(await app.runtime.document('charged', 'declined', { atLeast: await charge('declined') })).toBeUndefined();
  // The same command again, and another under its id.
  const again = (amount: number) =>
    app.send(till, undefined, { type: 'Charge', data: { card: 'visa', amount } }, { commandId });
  expect(await again(250)).toMatchObject({ kind: 'accepted', duplicate: true, token });
  expect(await again(251)).toMatchObject({ kind: 'rejected', code: 'IDEMPOTENCY_CONFLICT' });
  expect(seenOf('visa')).toHaveLength(1);
});

test('a try that fails is followed by another with the same idempotency key', async () => {
  network.script('flaky', ['fail', 'fail']);
  expect(await end(await charge('flaky'))).toMatchObject({ status: 'ACCEPTED', attempts: 3, error: null });
  expect(new Set(seenOf('flaky').map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1);
  expect(seenOf('flaky')).toHaveLength(3);
});

test('a refusal is an answer: it is not tried again', async () => {
  network.script('poor', ['decline']);
  const commandId = randomUUID();
  const token = await charge('poor', 1, app, commandId);
  expect(await end(token)).toMatchObject({
    status: 'REJECTED',
    attempts: 1,
    receipt: { kind: 'rejected', code: 'DECLINED', reason: 'no money' },
  });
  const again = await app.send(till, undefined, { type: 'Charge', data: { card: 'poor', amount: 1 } }, { commandId });
  expect(again).toMatchObject({ kind: 'rejected', code: 'DECLINED' });
  expect(seenOf('poor')).toHaveLength(1);
});

test('a try that does not end in time is told so, counted, and left behind', async () => {
  // The second waits until the test has seen what became of the first.
  network.script('slow', ['hang', 'wait']);
  const before = network.abandonedCount;
  const token = await charge('slow');
  await until('a try that timed out', async () => {
    const status = await app.runtime.commandByToken(token);
    return status?.error?.code === 'SERVICE_TIMED_OUT' ? status : undefined;
  });
  await until('the second try', () => seenOf('slow')[1]);
  // Who looks first between the event and what the record says of its end is told of one try.
  let toldCount = 0;
  const ended = end(token, app, () => (toldCount += 1));
  await until('it to be watched', () => toldCount > 0 || undefined);
  network.release();
  expect(await ended).toMatchObject({ status: 'ACCEPTED', attempts: 2 });
  await abandoned(before + 1);
});

test('when all tries failed, what `onFailed` says happened', async () => {
  network.script('broken', ['fail', 'fail', 'fail', 'fail']);
  const status = await end(await charge('broken'));
  const data = { card: 'broken', attempts: 3, message: 'the network answers 500' };
  expect(status).toMatchObject({
    status: 'ACCEPTED',
    attempts: 3,
    receipt: { events: [{ type: 'ChargeFailed', data }] },
  });
  expect(status.error).toMatchObject({ message: 'the network answers 500' });

  network.script('wrong', ['refuse']);
  const once = await end(await charge('wrong'));
  expect(once).toMatchObject({ attempts: 1, receipt: { events: [{ data: { attempts: 1 } }] } });
  const thrown = await end(await misbehave('a bare string'));
  expect(thrown).toMatchObject({ attempts: 3, receipt: { events: [{ data: { message: 'a bare string' } }] } });
});

test('an answer that the service may not give is never appended', async () => {
  for (const how of ['answer', 'refusal']) {
    // onFailed speaks for it here: the command is accepted, and says why as soon as it is.
    const status = await end(await misbehave(how));
    expect(status).toMatchObject({ attempts: 1, error: { code: 'SERVICE_ANSWER_INVALID' } });
    expect(status.receipt).toMatchObject({ events: [{ type: 'ChargeFailed' }] });
  }
});

test('once() runs its effect in the first try only', async () => {
  const status = await end(await misbehave('once'));
  expect(status).toMatchObject({ attempts: 3, receipt: { events: [{ data: { card: 'once', amount: 1 } }] } });
});

test('commands with one key run one at a time over all processes, others side by side', async () => {
  const other = await startCommandApp(servers, parts);
  network.delayMs = 40;
  const sent = await Promise.all(
    Array.from({ length: 24 }, (_, index) => charge(`key-${index % 3}`, 1, index % 2 === 0 ? app : other)),
  );
  const ends = await Promise.all(sent.map((token) => end(token)));
  network.delayMs = 0;
  expect(ends.every(({ status, attempts }) => status === 'ACCEPTED' && attempts === 1)).toBe(true);
  expect(network.mostOfCard).toBe(1);
  expect(network.most).toBeGreaterThan(1);
  await other.stop();
});

test('a process that stops tells its handlers; another one goes on, and the try is not counted', async () => {
  const here = testServers();
  const leaving = await startCommandApp(here, parts);
  network.script('rolling', ['hang']);
  const commandId = randomUUID();
  const token = await charge('rolling', 7, leaving, commandId);
  await until('the request of the first try', () => seenOf('rolling')[0]);
  const staying = await startCommandApp(here, parts);
  const before = network.abandonedCount;
  await leaving.stop();
  await abandoned(before + 1);
  expect(await end(token, staying)).toMatchObject({ status: 'ACCEPTED', attempts: 1 });
  expect(new Set(seenOf('rolling').map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1);
  expect(await commitsOf(commandId, here.database)).toHaveLength(1);
});
