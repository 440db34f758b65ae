import { randomUUID } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startBank, type TestGateway } from '../setup/gateway.ts';
import { privateMongo, testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

/** Shorter than the driver, the write concern and the pauses of group commit wait. */
const TIMEOUT_MS = 1_000;
const DATABASE = 'outcomes';

let bank: TestGateway;
/** Another one of the same deployment, which waits as long as usual: what a repeat comes to depends on no machine's speed. */
let patient: TestGateway;
let client: MongoClient;

beforeAll(async () => {
  const mongo = await privateMongo({ args: ['--setParameter', 'enableTestCommands=1'] });
  client = await MongoClient.connect(mongo.url);
  const env = { MONGODB_URL: mongo.url, MONGODB_DATABASE: DATABASE, REDIS_PREFIX: testServers().prefix };
  bank = await startBank({ env: { ...env, COMMAND_TIMEOUT_MS: String(TIMEOUT_MS) } });
  patient = await startBank({ env });
  await until('an answer to a first command', async () => (await bank.ask(OPEN, { id: 'warm' })).data ?? undefined);
});
afterEach(() => failCommits('off'));
afterAll(() => client.close());

const failCommits = (mode: 'off' | 'alwaysOn', data: object = {}) =>
  client.db('admin').command({
    configureFailPoint: 'failCommand',
    mode,
    data: { failCommands: ['insert'], namespace: `${DATABASE}.commits`, ...data },
  });

const OPEN = `mutation($id: ID!, $commandId: ID) {
  openAccount(id: $id, input: { owner: "Ada", currency: EUR }, commandId: $commandId) { __typename
    ... on CommandAccepted { commandId id version duplicate token events { type version } } } }`;
const DEPOSIT =
  'mutation($id: ID!) { deposit(id: $id, input: { amount: 1 }) { __typename ... on CommandRejected { code } } }';

const commits = (id: string): Promise<number> =>
  client
    .db(DATABASE)
    .collection('commits')
    .countDocuments({ stream: new RegExp(`/${id}$`) });

/** Sends it without a commandId: the answer has the one to repeat with. Anew, where the machine was too slow to send it at all. */
function sendUnknown(id: string): Promise<string> {
  return until('an unknown outcome', async () => {
    const { data, errors } = await bank.ask(OPEN, { id });
    expect(data).toBeNull();
    if (errors[0]?.extensions.code === 'TOO_BUSY') return undefined;
    expect(errors).toMatchObject([{ extensions: { code: 'OUTCOME_UNKNOWN', commandId: expect.any(String) } }]);
    return String(errors[0]?.extensions.commandId);
  });
}

/** The work on a command may go on a little after its answer; the next command of its stream waits for that. */
const nextAnswer = (id: string): Promise<unknown> =>
  until('an answer to the next command', async () => (await bank.ask(DEPOSIT, { id })).data?.deposit);
const NOT_OPEN = { __typename: 'CommandRejected', code: 'NOT_FOUND' };

async function expectOneEvent(id: string, token: string): Promise<void> {
  const { data, errors } = await bank.ask(
    `query($id: ID!, $token: Token!) { account(id: $id, atLeast: $token, timeoutMs: 10000) { balance } }`,
    { id, token },
  );
  expect(errors).toEqual([]);
  expect(data.account).toEqual({ balance: 0 });
  // Not beside it in one query: fields run at the same time, and only the view was asked to wait.
  const log = await bank.ask(
    `query($id: ID!) { events(filter: { aggregate: "account", aggregateId: $id }) { edges { node { type version } } } }`,
    { id },
  );
  expect(log.data.events.edges).toEqual([{ node: { type: 'AccountOpened', version: 1 } }]);
  expect(await commits(id)).toBe(1);
}

describe('a command whose outcome is not known at the deadline is OUTCOME_UNKNOWN, and its repeat takes effect once', () => {
  it('when it was not written', async () => {
    const id = randomUUID();
    await failCommits('alwaysOn', { closeConnection: true });
    const commandId = await sendUnknown(id);
    expect(await nextAnswer(id)).toEqual(NOT_OPEN);
    expect(await commits(id)).toBe(0);
    await failCommits('off');
    const { data } = await patient.ask(OPEN, { id, commandId });
    expect(data.openAccount).toMatchObject({ commandId, id, version: 1, duplicate: false });
    await expectOneEvent(id, data.openAccount.token);
  });

  it.each([
    ['and no majority confirmed it', { writeConcernError: { code: 64, errmsg: 'waiting for replication timed out' } }],
    ['too late for the deadline', { blockConnection: true, blockTimeMS: TIMEOUT_MS * 2 }],
  ])('when it was written, %s', async (_what, fault) => {
    const id = randomUUID();
    await failCommits('alwaysOn', fault);
    const commandId = await sendUnknown(id);
    await until('the commit', async () => ((await commits(id)) === 1 ? true : undefined));
    await failCommits('off');
    const answer = await until('the receipt', async () => {
      const { data, errors } = await bank.ask(OPEN, { id, commandId });
      return errors.some(({ extensions }) => extensions.retryable === true) ? undefined : data.openAccount;
    });
    expect(answer).toMatchObject({ commandId, id, version: 1, duplicate: true, events: [{ type: 'AccountOpened' }] });
    await expectOneEvent(id, answer.token);
  });
});

it('a command whose stream could not be read in time is TOO_BUSY, and is not written after that', async () => {
  const id = randomUUID();
  await failCommits('alwaysOn', { failCommands: ['find'], blockConnection: true, blockTimeMS: TIMEOUT_MS * 2 });
  const { data, errors } = await bank.ask(OPEN, { id });
  expect(data).toBeNull();
  expect(errors).toMatchObject([{ extensions: { code: 'TOO_BUSY', retryable: true } }]);
  await failCommits('off');
  expect(await nextAnswer(id)).toEqual(NOT_OPEN);
  expect(await commits(id)).toBe(0);
});

it('a conflict whose reading takes long keeps no other command of its stream waiting', async () => {
  const id = randomUUID();
  await patient.ask(OPEN, { id });
  await patient.ask(DEPOSIT, { id });
  const answered: string[] = [];
  const deposit = async (expectedVersion?: number): Promise<void> => {
    const { data } = await patient.ask(
      `mutation($id: ID!, $expectedVersion: Int) {
        outcome: deposit(id: $id, expectedVersion: $expectedVersion, input: { amount: 1 }) { __typename } }`,
      { id, expectedVersion },
    );
    answered.push(data.outcome.__typename);
  };
  const { count } = await failCommits('alwaysOn', {
    failCommands: ['find'],
    blockConnection: true,
    blockTimeMS: 5_000,
  });
  const behind = deposit(1);
  await client.db('admin').command({ waitForFailPoint: 'failCommand', timesEntered: count + 1, maxTimeMS: 60_000 });
  await deposit();
  await failCommits('off');
  await behind;
  expect(answered).toEqual(['CommandAccepted', 'CommandConflict']);
});

describe('a refusal', () => {
  const rejections = `${DATABASE}.rejections`;
  const REFUSED = `mutation($id: ID!, $commandId: ID) { deposit(id: $id, input: { amount: 1 }, commandId: $commandId) {
    __typename ... on CommandRejected { code } } }`;
  const recorded = (id: string): Promise<number> =>
    client
      .db(DATABASE)
      .collection('rejections')
      .countDocuments({ stream: new RegExp(`/${id}$`) });
  const block = { blockConnection: true, blockTimeMS: TIMEOUT_MS * 2 };

  it('that may have been recorded when time ran out is OUTCOME_UNKNOWN, and its repeat gets it', async () => {
    const [id, commandId] = [randomUUID(), randomUUID()];
    await failCommits('alwaysOn', { failCommands: ['findAndModify'], namespace: rejections, ...block });
    await until('an unknown outcome', async () => {
      const { data, errors } = await bank.ask(REFUSED, { id, commandId });
      expect(data).toBeNull();
      if (errors[0]?.extensions.code === 'TOO_BUSY') return undefined;
      expect(errors).toMatchObject([{ extensions: { code: 'OUTCOME_UNKNOWN', commandId } }]);
      return true;
    });
    await until('the record', async () => ((await recorded(id)) === 1 ? true : undefined));
    await failCommits('off');
    expect((await patient.ask(REFUSED, { id, commandId })).data.deposit).toEqual(NOT_OPEN);
  });

  it('that was TOO_BUSY is not recorded after that', async () => {
    const [id, commandId] = [randomUUID(), randomUUID()];
    await failCommits('alwaysOn', { failCommands: ['find'], namespace: rejections, ...block });
    const { errors } = await bank.ask(REFUSED, { id, commandId });
    expect(errors).toMatchObject([{ extensions: { code: 'TOO_BUSY', retryable: true } }]);
    await failCommits('off');
    expect((await patient.ask(OPEN, { id, commandId: randomUUID() })).data.openAccount.__typename).toBe(
      'CommandAccepted',
    );
    const repeated = await until(
      'an answer to its repeat',
      async () => (await bank.ask(REFUSED, { id, commandId })).data,
    );
    expect(repeated.deposit).toEqual({ __typename: 'CommandAccepted' });
    expect(await recorded(id)).toBe(0);
  });
});
