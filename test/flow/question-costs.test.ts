import { MongoClient } from 'mongodb';
import { expect, test } from 'vitest';
import { startBank, type TestGateway } from '../setup/gateway.ts';
import { testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

const ACCOUNTS = Array.from({ length: 600 }, (_, i) => `a${i}`);
/** Spread over the whole collection. */
const SOME = ACCOUNTS.filter((_, i) => i % 20 === 0);

interface Cost {
  readonly op: string;
  readonly ns: string;
  readonly planSummary?: string;
  readonly docsExamined?: number;
  readonly keysExamined?: number;
  readonly nreturned?: number;
  readonly nMatched?: number;
  readonly ndeleted?: number;
  readonly command?: { readonly pipeline?: readonly object[] };
  readonly originatingCommand?: { readonly pipeline?: readonly object[] };
}

async function moved(bank: TestGateway, ids: readonly string[], mutation: (id: string) => string): Promise<void> {
  const fields = ids.map((id, i) => `m${i}: ${mutation(id)} { __typename ... on CommandRejected { code reason } }`);
  for (let i = 0; i < fields.length; i += 20) {
    const { data } = await bank.ask(`mutation { ${fields.slice(i, i + 20).join('\n')} }`);
    const refused = Object.values(data).filter(
      (one) => (one as { __typename: string }).__typename !== 'CommandAccepted',
    );
    expect(refused).toEqual([]);
  }
}
/** What was accepted gets its position a little later. */
const settled = (bank: TestGateway, eventCount: number): Promise<true> =>
  until('every consumer has everything', async () => {
    const { data } = await bank.ask('{ consumers { caughtUp logEnd } }');
    const has = (one: { caughtUp: boolean; logEnd: string }) => one.caughtUp && Number(one.logEnd) >= eventCount;
    return data.consumers.every(has) || undefined;
  });

test('nothing that MongoDB is asked walks a collection, also in a process that knows nothing yet', async () => {
  const { mongoUrl, database, redisUrl, prefix } = testServers();
  const env = { MONGODB_DATABASE: database, REDIS_URL: redisUrl, REDIS_PREFIX: prefix };
  const first = await startBank({ env });
  await moved(first, ACCOUNTS, (id) => `openAccount(id: "${id}", input: { owner: "${id}", currency: EUR })`);
  await settled(first, ACCOUNTS.length);
  await first.stop();

  const client = await new MongoClient(mongoUrl).connect();
  const db = client.db(database);
  await db.command({ profile: 2 });
  const bank = await startBank({ env });
  await moved(bank, SOME, (id) => `deposit(id: "${id}", input: { amount: 5 })`);
  await moved(bank, SOME.slice(1, 4), (id) => {
    return `requestTransfer(id: "t-${id}", input: { from: "${id}", to: "a0", amount: 1 })`;
  });
  await settled(bank, ACCOUNTS.length + SOME.length + 3);
  const lists = [
    ...['accounts(first: 20) { edges { node { id } } }', 'accounts(last: 20) { edges { node { id } } }'],
    ...['deadLetters(first: 20) { edges { node { id } } }', 'deadLetterGroups { count }'],
    ...['timers(first: 20) { edges { node { id } } }', 'events(first: 20) { edges { node { position } } }'],
    ...['audit(first: 20) { edges { node { id } } }'],
  ];
  for (const list of lists) expect((await bank.ask(`{ ${list} }`)).errors).toEqual([]);
  const { data } = await bank.ask(`{ ${SOME.map((id, i) => `a${i}: account(id: "${id}") { balance }`).join('\n')} }`);
  expect(data.a10).toEqual({ balance: 5 });
  await bank.stop();
  await db.command({ profile: 0 });

  const costs = await db.collection<Cost>('system.profile').find().toArray();
  const follows = ({ command, originatingCommand = command }: Cost): boolean =>
    Object.hasOwn(originatingCommand?.pipeline?.[0] ?? {}, '$changeStream');
  const walks = costs
    .filter((one) => !one.ns.endsWith('.system.profile') && !follows(one))
    .filter(({ docsExamined = 0, keysExamined = 0, nreturned = 0, nMatched = 0, ndeleted = 0 }) => {
      return Math.max(docsExamined, keysExamined) > 50 + 10 * (nreturned + nMatched + ndeleted);
    });
  expect(walks.map(({ op, ns, planSummary, command }) => ({ op, ns, planSummary, command }))).toEqual([]);
  // It was looked at: documents of the view were read by their ids, and written.
  const joins = costs.filter(({ command }) => JSON.stringify(command?.pipeline ?? []).includes('view_account_g1'));
  expect(joins.some(({ nreturned = 0 }) => nreturned > 1)).toBe(true);
  await client.close();
});
