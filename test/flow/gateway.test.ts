import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { startBank, values } from '../setup/gateway.ts';

const bank = await startBank();

const OPEN = `mutation($id: ID, $input: OpenAccountInput!, $commandId: ID) {
  openAccount(id: $id, input: $input, commandId: $commandId) { ...outcome } }`;
const DEPOSIT = `mutation($id: ID!, $input: DepositInput!, $commandId: ID, $expectedVersion: Int, $dryRun: Boolean) {
  deposit(id: $id, input: $input, commandId: $commandId, expectedVersion: $expectedVersion, dryRun: $dryRun) { ...outcome } }`;
const OUTCOME = `fragment outcome on CommandOutcome { __typename
  ... on CommandAccepted { commandId correlationId streamId id version duplicate token events { type version position data meta { correlationId client } at } }
  ... on CommandRejected { commandId code reason }
  ... on CommandConflict { commandId expected actual missedEvents { type version } }
  ... on InvalidInput { issues { path message } } }`;
const ACCOUNT =
  'query($id: ID!, $atLeast: Token) { account(id: $id, atLeast: $atLeast) { id owner balance displayBalance } }';

async function send(query: string, variables: object, headers?: Record<string, string>) {
  const { data, errors } = await bank.ask(`${query} ${OUTCOME}`, variables, headers);
  expect(errors).toEqual([]);
  const [outcome] = Object.values<Record<string, never>>(data);
  return outcome!;
}
const open = (id: string = randomUUID(), owner = 'Ada') => send(OPEN, { id, input: { owner, currency: 'EUR' } });
const deposit = (id: string, amount: number, more: object = {}) => send(DEPOSIT, { id, input: { amount }, ...more });
/** The account shows the command of this token: its events have positions, too, and a subscription of now gets none of them. */
async function shown(id: string | undefined, atLeast: string | undefined): Promise<void> {
  const { errors } = await bank.ask(ACCOUNT, { id, atLeast });
  expect(errors).toEqual([]);
}

test('a command is answered with its receipt, and a read with its token sees what it did', async () => {
  const opened = await send(OPEN, { input: { owner: 'Ada', currency: 'EUR' }, commandId: 'first' });
  expect(opened).toMatchObject({ __typename: 'CommandAccepted', commandId: 'first', version: 1, duplicate: false });
  const paid = await deposit(opened.id!, 1_234);
  expect(paid).toMatchObject({ version: 2, events: [{ type: 'MoneyDeposited', version: 2, data: { amount: 1_234 } }] });
  const { data } = await bank.ask(ACCOUNT, { id: opened.id, atLeast: paid.token });
  // displayBalance is the field that the example writes by hand.
  expect(data.account).toEqual({ id: opened.id, owner: 'Ada', balance: 1_234, displayBalance: '12.34 EUR' });
});

test('a refusal, a conflict and wrong data are answers, not errors', async () => {
  const { id } = await open();
  expect(await send(OPEN, { id, input: { owner: 'Bob', currency: 'EUR' } })).toMatchObject({ code: 'ALREADY_EXISTS' });
  expect(await deposit(randomUUID(), 1)).toMatchObject({ __typename: 'CommandRejected', code: 'NOT_FOUND' });
  expect(await deposit(id!, 1, { expectedVersion: 7 })).toMatchObject({
    __typename: 'CommandConflict',
    expected: 7,
    actual: 1,
  });
  await deposit(id!, 1);
  expect(await deposit(id!, 1, { expectedVersion: 1 })).toMatchObject({ actual: 2, missedEvents: [{ version: 2 }] });
  for (const amount of [-5, 0, 1.5, 1e15]) {
    expect(await deposit(id!, amount)).toMatchObject({ __typename: 'InvalidInput', issues: [{ path: ['amount'] }] });
  }
  expect(await deposit(id!, 5, { dryRun: true })).toMatchObject({ __typename: 'CommandAccepted', version: 3 });
  expect(await deposit(id!, 5)).toMatchObject({ version: 3 });
});

test('a repeat with the same commandId gets the first receipt; other data under it is refused', async () => {
  const { id } = await open();
  const commandId = randomUUID();
  const first = await deposit(id!, 10, { commandId });
  const again = await deposit(id!, 10, { commandId });
  expect({ ...again, events: null }).toEqual({ ...first, duplicate: true, events: null });
  expect(await deposit(id!, 11, { commandId })).toMatchObject({ code: 'IDEMPOTENCY_CONFLICT' });
});

test('what a client says of itself reaches the events; what is not well-formed does not', async () => {
  const { id } = await open();
  const said = { 'x-correlation-id': 'order-17', 'x-client-name': 'till 3' };
  const query = `${DEPOSIT} ${OUTCOME}`;
  const good = await bank.ask(query, { id, input: { amount: 1 } }, said);
  expect(good.headers.get('x-correlation-id')).toBe('order-17');
  expect(good.data.deposit).toMatchObject({
    correlationId: 'order-17',
    events: [{ meta: { correlationId: 'order-17', client: 'till 3' } }],
  });
  const bad = await bank.ask(query, { id, input: { amount: 1 } }, { 'x-correlation-id': 'a b{}' });
  expect(bad.data.deposit.correlationId).toMatch(/^[0-9a-f-]{36}$/);
  expect(bad.headers.get('x-correlation-id')).toBe(bad.data.deposit.correlationId);
});

test('sendCommands answers each command for itself', async () => {
  const id = randomUUID();
  await open(id);
  const commands = [
    { aggregate: 'account', id, type: 'Deposit', input: { amount: 3 } },
    { aggregate: 'account', id, type: 'Deposit', input: { amount: -3 } },
    { aggregate: 'account', id: randomUUID(), type: 'Withdraw', input: { amount: 3 } },
    { aggregate: 'account', id, type: 'Steal', input: {} },
    { aggregate: 'vault', id, type: 'Open', input: {} },
  ];
  const { data } = await bank.ask(
    `mutation($commands: [CommandEnvelope!]!) { sendCommands(commands: $commands) { ...outcome } } ${OUTCOME}`,
    { commands },
  );
  expect(data.sendCommands).toMatchObject([
    { __typename: 'CommandAccepted', version: 2 },
    { __typename: 'InvalidInput', issues: [{ path: ['amount'] }] },
    { __typename: 'CommandRejected', code: 'NOT_FOUND' },
    { __typename: 'InvalidInput', issues: [{ path: ['type'] }] },
    { __typename: 'InvalidInput', issues: [{ path: ['aggregate'] }] },
  ]);
  const tooMany = await bank.ask(
    'mutation($commands: [CommandEnvelope!]!) { sendCommands(commands: $commands) { __typename } }',
    { commands: Array.from({ length: 101 }, () => commands[0]) },
  );
  expect(tooMany.errors[0]?.extensions.code).toBe('BAD_INPUT');
});

test('a command is found again by its token and by its address', async () => {
  const { id } = await open();
  const commandId = randomUUID();
  const { token } = await deposit(id!, 9, { commandId });
  const { data } = await bank.ask(
    `query($token: Token!, $id: ID!, $commandId: ID!) {
      command(token: $token) { commandId status receipt { ...outcome } updatedAt }
      findCommand(aggregate: "account", id: $id, commandId: $commandId) { commandId status }
      nothing: findCommand(aggregate: "account", id: $id, commandId: "other") { commandId } } ${OUTCOME}`,
    { token, id, commandId },
  );
  expect(data.command).toMatchObject({ commandId, status: 'ACCEPTED', receipt: { version: 2 } });
  expect(data.findCommand).toEqual({ commandId, status: 'ACCEPTED' });
  expect(data.nothing).toBeNull();
});

test('lists are Relay connections over declared indexes; a query puts out documents of the view', async () => {
  const owner = randomUUID();
  const ids = ['a', 'b', 'c'].map((letter) => `${owner}-${letter}`);
  for (const [index, id] of ids.entries()) {
    await open(id, owner);
    // A list waits for the keys of its token, not for those of other commands.
    await shown(id, (await deposit(id, index + 1)).token);
  }
  const { token } = await deposit(ids[0]!, 7);
  const LIST = `query($filter: AccountFilter, $sort: [AccountSort!], $first: Int, $after: Cursor, $atLeast: Token) {
    accounts(filter: $filter, sort: $sort, first: $first, after: $after, atLeast: $atLeast) {
      edges { cursor node { id balance } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`;
  const filter = { owner: { eq: owner } };
  const page = await bank.ask(LIST, { filter, first: 2, atLeast: token });
  expect(page.data.accounts.edges).toMatchObject([
    { node: { id: ids[0], balance: 8 } },
    { node: { id: ids[1], balance: 2 } },
  ]);
  expect(page.data.accounts.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false });
  const rest = await bank.ask(LIST, { filter, first: 2, after: page.data.accounts.pageInfo.endCursor });
  expect(rest.data.accounts.edges.map((edge: { node: { id: string } }) => edge.node.id)).toEqual(ids.slice(2));
  const some = await bank.ask(LIST, { filter: { id: { in: [ids[1], 'none'] } } });
  expect(some.data.accounts.edges).toMatchObject([{ node: { id: ids[1], balance: 2 } }]);
  const { data } = await bank.ask('query($owner: String!) { accountsOf(owner: $owner) { id displayBalance } }', {
    owner,
  });
  expect(data.accountsOf).toHaveLength(3);
});

test('what a list cannot serve is refused with a code', async () => {
  const code = async (query: string, variables?: object) =>
    (await bank.ask(query, variables)).errors.map(({ extensions }) => extensions.code);
  expect(await code('{ accounts(first: -1) { edges { cursor } } }')).toEqual(['BAD_INPUT']);
  expect(await code('query($n: Int) { accounts(first: $n) { edges { cursor } } }', { n: 1e9 })).toEqual(['BAD_INPUT']);
  expect(await code('{ accounts(first: 1000000000) { edges { cursor } } }')).toEqual(['QUERY_TOO_COMPLEX']);
  expect(await code('{ accounts(after: "nonsense") { edges { cursor } } }')).toEqual(['BAD_CURSOR']);
  expect(await code('{ account(id: "x", atLeast: "nonsense") { id } }')).toEqual(['BAD_TOKEN']);
  expect(await code('{ command(token: "nonsense") { commandId } }')).toEqual(['BAD_TOKEN']);
  expect(await code('{ events(filter: { actor: "x", types: ["AccountOpened"] }) { edges { cursor } } }')).toEqual([
    'INDEX_MISSING',
  ]);
  expect(await code('{ events(filter: { since: "yesterday" }) { edges { cursor } } }')).toEqual(['BAD_INPUT']);
  expect(await code('{ accounts(filter: { owner: null }) { edges { cursor } } }')).toEqual(['BAD_INPUT']);
  expect(await code('{ accounts(filter: { owner: { eq: null } }) { edges { cursor } } }')).toEqual(['BAD_INPUT']);
  expect(await code('{ richest(limit: 101) { id } }')).toEqual(['BAD_INPUT']);
  // A variable that was not given leaves no operator: the filter that was meant must not match everything.
  const ofOwner = 'query($owner: String) { accounts(filter: { owner: { eq: $owner } }) { edges { cursor } } }';
  expect(await code(ofOwner)).toEqual(['BAD_INPUT']);
});

test('a subscriber sees the document as it is, then each change with its commands', async () => {
  const { id, token } = await open();
  await shown(id, token);
  const changes = values<{ data: { accountChanged: Record<string, unknown> } }>(
    bank.client().iterate({
      query:
        'subscription($id: ID!) { accountChanged(id: $id) { signal cursor id version node { balance displayBalance } origins } }',
      variables: { id },
    }) as never,
  );
  let change = (await changes.next('the snapshot')).data.accountChanged;
  expect(change).toMatchObject({ signal: 'SNAPSHOT', id, node: { balance: 0 } });
  let version = Number(change.version);
  for (const amount of [5, 7]) {
    const commandId = randomUUID();
    await deposit(id!, amount, { commandId });
    change = (await changes.next(`the deposit of ${amount}`)).data.accountChanged;
    expect(change).toMatchObject({ signal: 'UPDATE', id });
    expect(change.origins).toContain(commandId);
    expect(Number(change.version)).toBeGreaterThan(version);
    version = Number(change.version);
  }
  expect(change.node).toEqual({ balance: 12, displayBalance: '0.12 EUR' });
  await changes.end();
});

test('a subscriber of a list gets each document, CAUGHT_UP, then changes of what matches', async () => {
  const owner = randomUUID();
  const id = `${owner}-x`;
  await open(id, owner);
  const { token } = await deposit(id, 1);
  await shown(id, token);
  const changes = values<{ data: { accountsChanged: Record<string, unknown> } }>(
    bank.client().iterate({
      query: 'subscription($filter: AccountFilter) { accountsChanged(filter: $filter) { signal id node { balance } } }',
      variables: { filter: { owner: { eq: owner } } },
    }) as never,
  );
  expect((await changes.next('the snapshot')).data.accountsChanged).toEqual({
    signal: 'SNAPSHOT',
    id,
    node: { balance: 1 },
  });
  expect((await changes.next('CAUGHT_UP')).data.accountsChanged.signal).toBe('CAUGHT_UP');
  await open(randomUUID(), 'somebody else');
  await deposit(id, 2);
  expect((await changes.next('the deposit')).data.accountsChanged).toEqual({
    signal: 'UPDATE',
    id,
    node: { balance: 3 },
  });
  await send(`mutation($id: ID!) { withdraw(id: $id, input: { amount: 3 }) { ...outcome } }`, { id });
  expect((await changes.next('the withdrawal')).data.accountsChanged).toMatchObject({
    signal: 'UPDATE',
    node: { balance: 0 },
  });
  await send('mutation($id: ID!) { closeAccount(id: $id) { ...outcome } }', { id });
  expect((await changes.next('the closing')).data.accountsChanged).toMatchObject({ signal: 'REMOVED', id });
  await changes.end();
});

test('the log is read and followed by actor', async () => {
  const id = randomUUID();
  const filter = { actor: `actor-${id}` };
  const act = (type: 'OpenAccount' | 'Deposit', data: object, actor: string) =>
    bank.app.runtime.handle({ aggregate: 'account', id, type, data, meta: { actor } });
  const opened = await act('OpenAccount', { owner: 'Ada', currency: 'EUR' }, filter.actor);
  await shown(id, opened.kind === 'accepted' ? opened.token : '');
  const live = values<{ data: { events: { event: unknown } } }>(
    bank.client().iterate({
      query: `subscription($filter: EventFilter) {
        events(filter: $filter) { event { type data meta { actor } } } }`,
      variables: { filter },
    }) as never,
  );
  expect((await live.next('CAUGHT_UP')).data.events.event).toBeNull();
  await act('Deposit', { amount: 1 }, 'somebody else');
  const last = await act('Deposit', { amount: 2 }, filter.actor);
  const deposited = { type: 'MoneyDeposited', data: { amount: 2 }, meta: { actor: filter.actor } };
  expect((await live.next('the deposit')).data.events.event).toEqual(deposited);
  await live.end();
  await shown(id, last.kind === 'accepted' ? last.token : '');
  const { data } = await bank.ask(
    'query($filter: EventFilter) { events(filter: $filter) { edges { node { type data meta { actor } } } } }',
    { filter },
  );
  const events = data.events.edges.map(({ node }: { node: unknown }) => node);
  expect(events).toMatchObject([{ type: 'AccountOpened' }, deposited]);
});

test('the log is read by pages and followed live', async () => {
  const { id } = await open();
  await deposit(id!, 1);
  const filter = { aggregate: 'account', aggregateId: id };
  const live = values<{ data: { events: { signal: string; cursor: string; event: Record<string, unknown> | null } } }>(
    bank.client().iterate({
      query:
        'subscription($filter: EventFilter) { events(filter: $filter) { signal cursor event { type version position commandId } } }',
      variables: { filter: { types: ['MoneyDeposited'] } },
    }) as never,
  );
  let delivery = (await live.next('CAUGHT_UP')).data.events;
  while (delivery.signal !== 'CAUGHT_UP') delivery = (await live.next('CAUGHT_UP')).data.events;
  const commandId = randomUUID();
  await deposit(id!, 2, { commandId });
  while (delivery.event?.commandId !== commandId) delivery = (await live.next('the deposit')).data.events;
  expect(delivery.event).toMatchObject({
    type: 'MoneyDeposited',
    version: 3,
    position: expect.stringMatching(/^\d+$/),
  });
  await live.end();
  const { data } = await bank.ask(
    'query($filter: EventFilter) { events(filter: $filter, first: 10) { edges { node { type version position data } } } }',
    { filter },
  );
  const events = data.events.edges.map(({ node }: { node: unknown }) => node);
  expect(events).toMatchObject([
    { type: 'AccountOpened', version: 1 },
    { type: 'MoneyDeposited', version: 2, data: { amount: 1 } },
    { type: 'MoneyDeposited', version: 3, data: { amount: 2 } },
  ]);
});
