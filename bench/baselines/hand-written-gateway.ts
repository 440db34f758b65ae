import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { Repeater } from 'graphql-yoga';
import { Redis } from 'ioredis';
import type { Db } from 'mongodb';
import { accountId, OWNER } from '../lib/append-contender.ts';
import { type AccountChange, accepted, bankSchema } from './bank-schema.ts';
import type { commandAndEvent, EventDocument } from './command-event.ts';
import { type AccountDocument, channel, type PublishedAccount, QUEUE, type RedisPlace } from './hand-written-worker.ts';
import { startYoga } from './yoga-server.ts';

type Push = (change: AccountChange) => unknown;

/** Mutation: transaction, then `queue.add`. Subscription: the document, then what Redis publishes for it. */
export async function startGateway(store: ReturnType<typeof commandAndEvent>, db: Db, redis: RedisPlace) {
  const accounts = db.collection<AccountDocument>('accounts');
  const connection = new Redis(redis.url, { maxRetriesPerRequest: null });
  const queue = new Queue<EventDocument>(QUEUE, { connection, prefix: redis.prefix });
  const subscribers = new Map<string, Set<Push>>();
  const subscription = new Redis(redis.url);
  await subscription.subscribe(channel(redis));
  subscription.on('message', (_channel: string, json: string) => {
    const account: PublishedAccount = JSON.parse(json);
    const change = toChange('UPDATE', account, [account.commandId]);
    for (const push of subscribers.get(account._id) ?? []) push(change);
  });

  const accountChanged = (id: string) =>
    new Repeater<AccountChange>(async (push, stop) => {
      const pushes = subscribers.get(id) ?? new Set();
      subscribers.set(id, pushes.add(push));
      const account = await accounts.findOne({ _id: id });
      push(account === null ? { ...EMPTY, id } : toChange('SNAPSHOT', account, []));
      await stop;
      pushes.delete(push);
    });

  const server = await startYoga(
    bankSchema({
      async deposit({ id, input, commandId = randomUUID() }) {
        const event = await store.deposit(Number(id.slice('acc-'.length)), input.amount, commandId);
        await queue.add(event.type, event, { removeOnComplete: true });
        return accepted(id, commandId, event.version);
      },
      accountChanged,
    }),
  );
  return {
    url: server.url,
    async open(accountCount: number): Promise<void> {
      await store.open(accountCount);
      const ids = Array.from({ length: accountCount }, (_, account) => accountId(account));
      await accounts.insertMany(ids.map((_id) => ({ _id, ...OWNER, balance: 0, version: 1 })));
    },
    async close(): Promise<void> {
      await server.close();
      await queue.obliterate({ force: true });
      await queue.close();
      connection.disconnect();
      subscription.disconnect();
    },
  };
}

const EMPTY = { signal: 'SNAPSHOT', cursor: '0', node: null, version: 0, origins: [] } as const;

const toChange = (
  signal: 'SNAPSHOT' | 'UPDATE',
  account: AccountDocument,
  origins: readonly string[],
): AccountChange => ({
  signal,
  cursor: String(account.version),
  id: account._id,
  node: { id: account._id, owner: account.owner, currency: account.currency, balance: account.balance },
  version: account.version,
  origins,
});
