import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FlowStep } from '../../src/index.ts';
import { startBank, type TestGateway, values } from '../setup/gateway.ts';

let bank: TestGateway;
let inbox: Server;
const notified: string[] = [];

beforeAll(async () => {
  inbox = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += String(chunk);
    });
    request.on('end', () => {
      notified.push(text);
      response.end();
    });
  });
  await new Promise<void>((resolve) => inbox.listen(0, '127.0.0.1', resolve));
  process.env.BANK_NOTIFY_URL = `http://127.0.0.1:${(inbox.address() as AddressInfo).port}/`;
  bank = await startBank();
});
afterAll(() => {
  delete process.env.BANK_NOTIFY_URL;
  inbox.close();
});

async function open(id: string, amount: number): Promise<void> {
  await bank.ask(`mutation { openAccount(id: "${id}", input: { owner: "Ada", currency: EUR }) { __typename } }`);
  if (amount > 0) await bank.ask(`mutation { deposit(id: "${id}", input: { amount: ${amount} }) { __typename } }`);
}
const request = (id: string, from: string, to: string, correlationId: string) =>
  bank.ask(
    `mutation { requestTransfer(id: "${id}", input: { from: "${from}", to: "${to}", amount: 30 }) { __typename } }`,
    {},
    { 'x-correlation-id': correlationId, 'x-client-name': 'phone', baggage: 'branch=7', traceparent: TRACE },
  );
const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

/** Names from the mutation down to each leaf, projectors left out: every view has every event. */
function ways(steps: readonly FlowStep[]): string[] {
  const shown = steps.filter(({ kind }) => kind !== 'PROJECTOR');
  const byId = new Map(shown.map((step) => [step.id, step]));
  const parents = new Set(shown.map(({ parentId }) => parentId));
  const wayOf = (step: FlowStep): string => {
    const parent = step.parentId === null ? undefined : byId.get(step.parentId);
    const own = `${step.kind} ${step.name} ${step.status}`;
    return parent === undefined ? own : `${wayOf(parent)} > ${own}`;
  };
  return shown.filter(({ id }) => !parents.has(id)).map(wayOf);
}
const parts = (...names: string[]): string => names.join(' > ');

const FLOW = `subscription($id: ID!) { flow(correlationId: $id) {
  id parentId kind name subject status attempts startedAt durationMs error { code message } event { type } } }`;

test('the flow of one transfer shows every hop from the mutation to the notification, live', async () => {
  await open('a', 100);
  await open('b', 0);
  const live = values(bank.client().iterate<{ flow: FlowStep }>({ query: FLOW, variables: { id: 'transfer-1' } }));
  const seen = new Map<string, FlowStep>();
  const statuses = new Map<string, string[]>();
  const first = live.next('the first step');
  await request('t1', 'a', 'b', 'transfer-1');
  // A timer that is set and cancelled within a moment is told of after what cancelled it.
  const isOver = (): boolean =>
    [...seen.values()].some(({ name, status }) => name === 'notify' && status === 'DONE') &&
    [...seen.values()].some(({ kind }) => kind === 'TIMER') &&
    [...seen.values()].every(({ status }) => status === 'DONE' || status === 'CANCELLED');
  for (let next = await first; ; next = await live.next(`the end of ${seen.size} steps`)) {
    const step = next.data?.flow;
    if (step == null) throw new Error(JSON.stringify(next.errors));
    if (step.parentId !== null && !seen.has(step.parentId)) throw new Error(`${step.id} came before its cause`);
    seen.set(step.id, step);
    statuses.set(step.id, [...(statuses.get(step.id) ?? []), step.status]);
    if (isOver()) break;
  }
  await live.end();
  expect(notified).toEqual([expect.stringContaining('"transferId":"t1"')]);

  const start = parts('COMMAND RequestTransfer DONE', 'EVENT TransferRequested DONE', 'SAGA moneyTransfer DONE');
  const debited = parts(
    start,
    'COMMAND DebitForTransfer DONE',
    'EVENT TransferDebited DONE',
    'SAGA moneyTransfer DONE',
  );
  const credited = parts(
    debited,
    'COMMAND CreditForTransfer DONE',
    'EVENT TransferCredited DONE',
    'SAGA moneyTransfer DONE',
  );
  const completed = parts(
    credited,
    'COMMAND CompleteTransfer DONE',
    'EVENT TransferCompleted DONE',
    'OBSERVER notify DONE',
  );
  const found = ways([...seen.values()]);
  expect(found).toContain(completed);
  expect(found).toContain(parts(start, 'TIMER moneyTransfer: deadline CANCELLED'));
  // Each step's own time and tries; what waits for a worker was seen to wait or run, or was already done.
  for (const step of seen.values())
    expect([step.name, step.startedAt, step.error]).toEqual([step.name, expect.any(String), null]);
  const sagas = [...seen.values()].filter(({ kind }) => kind === 'SAGA');
  for (const { durationMs } of sagas) expect(durationMs).toBeGreaterThanOrEqual(0);
  for (const [id, of] of statuses)
    expect(of.indexOf('DONE'), `${id}: ${of}`).toBeOneOf([-1, of.length - 1, of.length - 2]);
});

test('what the caller set is on every command and event, over all hops', async () => {
  const flow = await bank.app.settled('transfer-1', { timeoutMs: 60_000 });
  const events = flow.steps.flatMap(({ event }) => (event === null ? [] : [event]));
  expect(events.map(({ type, meta }) => [type, meta.depth ?? 0, meta.actor])).toEqual([
    ['TransferRequested', 0, null],
    ['TransferDebited', 1, 'saga:moneyTransfer'],
    ['TransferCredited', 2, 'saga:moneyTransfer'],
    ['TransferCompleted', 3, 'saga:moneyTransfer'],
  ]);
  for (const { meta } of events) {
    expect(meta).toMatchObject({
      correlationId: 'transfer-1',
      client: 'phone',
      baggage: 'branch=7',
      traceparent: TRACE,
    });
  }
  // Each command of the saga names the event that caused it.
  expect(events.slice(1).map(({ meta }) => meta.causationId)).toEqual(events.slice(0, -1).map(({ id }) => id));
});

test('a refused hop and its compensation are hops like any other', async () => {
  await open('c', 10);
  await request('t2', 'c', 'b', 'transfer-2');
  const flow = await bank.app.settled('transfer-2', { timeoutMs: 60_000 });
  const start = parts('COMMAND RequestTransfer DONE', 'EVENT TransferRequested DONE', 'SAGA moneyTransfer DONE');
  const refused = parts(start, 'COMMAND DebitForTransfer REJECTED', 'SAGA moneyTransfer DONE');
  const failed = parts(refused, 'COMMAND FailTransfer DONE', 'EVENT TransferFailed DONE', 'OBSERVER notify DONE');
  expect(ways(flow.steps)).toContain(failed);
  const debit = flow.steps.find(({ name }) => name === 'DebitForTransfer');
  expect(debit).toMatchObject({ attempts: 1, error: { code: 'INSUFFICIENT_FUNDS' } });
});

test('commandStatus goes on to the consumers of the events and ends when they have settled', async () => {
  const query = `mutation { deposit(id: "a", input: { amount: 5 }) { ... on CommandAccepted { token } } }`;
  const { token } = (await bank.ask(query)).data.deposit;
  const subscription = `subscription($token: Token!) { commandStatus(token: $token) {
    status settled consumers { name kind state } } }`;
  const seen: string[] = [];
  for await (const { data, errors } of bank.client().iterate<{
    commandStatus: { status: string; settled: boolean; consumers: { name: string; kind: string; state: string }[] };
  }>({ query: subscription, variables: { token } })) {
    if (data == null) throw new Error(JSON.stringify(errors));
    const { status, settled, consumers } = data.commandStatus;
    const done = consumers.filter(({ state }) => state === 'DONE').map(({ name, kind }) => `${kind} ${name}`);
    seen.push([status, ...done, settled ? 'SETTLED' : ''].join(' ').trim());
  }
  expect(seen).toEqual([
    'ACCEPTED',
    expect.stringMatching(/^ACCEPTED PROJECTOR (balances|statement)$/),
    'ACCEPTED PROJECTOR balances PROJECTOR statement',
    'ACCEPTED PROJECTOR balances PROJECTOR statement SETTLED',
  ]);
  const now = `query($token: Token!) { command(token: $token) { status settled consumers { name state } } }`;
  expect((await bank.ask(now, { token })).data.command).toEqual({
    status: 'ACCEPTED',
    settled: true,
    consumers: [
      { name: 'balances', state: 'DONE' },
      { name: 'statement', state: 'DONE' },
    ],
  });
});

test('settled never comes early: forty transfers at once, each seen to its very end', async () => {
  const sides = Array.from({ length: 8 }, (_, n) => `side${n}`);
  await Promise.all(sides.map((id, n) => open(id, n % 2 === 0 ? 1_000 : 0)));
  const ends = await Promise.all(
    Array.from({ length: 40 }, async (_, n) => {
      const id = `many${n}`;
      // Every other one is refused for want of money, or not: the one before may have brought some.
      await request(id, sides[n % 8]!, sides[(n + 1) % 8]!, id);
      const { steps } = await bank.app.settled(id, { timeoutMs: 90_000 });
      const end = steps.find(({ name }) => name === 'TransferCompleted' || name === 'TransferFailed');
      return [end?.status, steps.find(({ name }) => name === 'notify')?.status].join();
    }),
  );
  expect(new Set(ends)).toEqual(new Set(['DONE,DONE']));
});
