import { MongoClient } from 'mongodb';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeToken } from '../../src/engine/log/token.ts';
import { startBank } from '../setup/gateway.ts';
import { logRecords } from '../setup/log-records.ts';
import { testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

const { mongoUrl, database } = testServers();
const log = logRecords();
const gateway = await startBank({ logger: log.logger, env: { MONGODB_URL: mongoUrl, MONGODB_DATABASE: database } });
const mongo = await MongoClient.connect(mongoUrl);
afterAll(() => mongo.close());

describe('reads with atLeast whose client left', () => {
  it('ask MongoDB nothing more, and are no error in the log', async () => {
    const db = mongo.db(database);
    await db.command({ profile: 1, filter: { ns: `${database}.events`, planSummary: { $regex: 'stream' } } });
    const polls = () => db.collection('system.profile').countDocuments();
    // A command that is never placed: every look-up in vain is a poll.
    const token = encodeToken({
      logId: 'main',
      stream: 'default/account/nobody',
      commandId: 'never',
      firstVersion: 1,
      eventCount: 1,
    });
    const client = new AbortController();
    const fields = Array.from(
      { length: 10 },
      (_, n) => `a${n}: account(id: "a", atLeast: $token, timeoutMs: 60000) { id }`,
    );
    const query = `query ($token: Token!) { ${fields.join('\n')}
      b: accounts(atLeast: $token, timeoutMs: 60000) { edges { cursor } }
      c: richest(limit: 1, atLeast: $token, timeoutMs: 60000) { id } }`;
    const asked = fetch(`${gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables: { token } }),
      signal: client.signal,
    });
    asked.catch(() => undefined);
    await until('polls', async () => ((await polls()) >= 3 ? true : undefined));
    client.abort();
    await expect(asked).rejects.toThrow();
    let seen = { count: await polls(), at: Date.now() };
    await until(
      'a second without a poll',
      async () => {
        const count = await polls();
        if (count !== seen.count) seen = { count, at: Date.now() };
        return Date.now() - seen.at >= 1_000 ? true : undefined;
      },
      { seen: () => seen },
    );
    expect(log.records.filter(({ msg }) => msg === 'unexpected error in an operation')).toEqual([]);
  });
});
