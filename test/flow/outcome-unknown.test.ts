import { randomUUID } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startBank, type TestGateway } from '../setup/gateway.ts';
import { privateMongo } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

/** Shorter than the driver, the write concern and the pauses of group commit wait. */
const TIMEOUT_MS = 1_000;
const DATABASE = 'outcomes';

let bank: TestGateway;
let client: MongoClient;

beforeAll(async () => {
  const mongo = await privateMongo({ args: ['--setParameter', 'enableTestCommands=1'] });
  client = await MongoClient.connect(mongo.url);
  const env = { MONGODB_URL: mongo.url, MONGODB_DATABASE: DATABASE, COMMAND_TIMEOUT_MS: String(TIMEOUT_MS) };
  bank = await startBank({ env });
  const { data } = await bank.ask(OPEN, { id: 'warm' });
  expect(data.openAccount.__typename).toBe('CommandAccepted');
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

/** Sends it once, without a commandId: the answer has the one to repeat with. */
async function sendUnknown(id: string): Promise<string> {
  const { data, errors } = await bank.ask(OPEN, { id });
  expect(data).toBeNull();
  expect(errors).toMatchObject([{ extensions: { code: 'OUTCOME_UNKNOWN', commandId: expect.any(String) } }]);
  return String(errors[0]?.extensions.commandId);
}

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
    // The work on it may go on a little; the next command of its stream waits for that.
    const next = await until('an answer to the next command', async () => {
      const { data } = await bank.ask(DEPOSIT, { id });
      return data?.deposit;
    });
    expect(next).toEqual({ __typename: 'CommandRejected', code: 'NOT_FOUND' });
    expect(await commits(id)).toBe(0);
    await failCommits('off');
    const { data } = await bank.ask(OPEN, { id, commandId });
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
