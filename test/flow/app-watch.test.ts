import { randomUUID } from 'node:crypto';
import { getEventListeners } from 'node:events';
import { afterAll, describe, expect, it } from 'vitest';
import { account } from '../../examples/bank/account.ts';
import { accountView } from '../../examples/bank/balances.ts';
import { bank } from '../../examples/bank/module.ts';
import { createLogger } from '../../src/logger.ts';
import { readSettings } from '../../src/settings.ts';
import { startApp } from '../../src/start.ts';
import { patient } from '../setup/patient.ts';
import { testServers } from '../setup/servers.ts';

const servers = testServers();
const app = await startApp({
  modules: [bank],
  settings: readSettings({
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    ...patient,
  }),
  logger: createLogger({ level: 'silent', pretty: false }),
});
afterAll(() => app.stop());

const end = { done: true, value: undefined };
const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length;

/** Rejects when the promise takes too long. */
async function soon<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited 60 s for ${what}`)), 60_000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function opened(): Promise<string> {
  const id = randomUUID();
  const outcome = await app.send(account, id, { type: 'OpenAccount', data: { owner: 'Ada', currency: 'EUR' } });
  if (outcome.kind !== 'accepted') throw new Error(JSON.stringify(outcome));
  await app.runtime.document('account', id, { atLeast: outcome.token });
  return id;
}

describe('what is watched in code', () => {
  it('is the document as it is, then each change, typed', async () => {
    const id = await opened();
    const changes = app.watch(accountView, id);
    const first = await soon('the snapshot', changes.next());
    expect(first.value).toMatchObject({ signal: 'SNAPSHOT', document: { owner: 'Ada', balance: 0 }, version: 1 });
    await app.send(account, id, { type: 'Deposit', data: { amount: 5 } }, { commandId: `${id}-paid` });
    const { value } = await soon('the deposit', changes.next());
    expect(value).toMatchObject({ signal: 'UPDATE', version: 2, origins: [`${id}-paid`] });
    expect(value?.document?.balance).toBe(5);
    await changes.return?.();
  });

  it('ends at once by return() while next() waits, and lets go of its signal', async () => {
    const { signal } = new AbortController();
    const changes = app.watch(accountView, await opened(), { signal });
    await soon('the snapshot', changes.next());
    expect(listeners(signal)).toBe(1);
    const waiting = [changes.next(), changes.next()];
    expect(await soon('return()', changes.return?.() ?? Promise.reject())).toEqual(end);
    expect(await soon('the waiting calls', Promise.all(waiting))).toEqual([end, end]);
    expect(await soon('a later call', changes.next())).toEqual(end);
    expect(listeners(signal)).toBe(0);
  });

  it('ends before its snapshot, and when the loop is left', async () => {
    const { signal } = new AbortController();
    const id = await opened();
    const changes = app.watch(accountView, id, { signal });
    const waiting = changes.next();
    await soon('return()', changes.return?.() ?? Promise.reject());
    expect(await soon('the waiting call', waiting)).toEqual(end);
    for await (const { document } of app.watch(accountView, id, { signal })) {
      expect(document?.owner).toBe('Ada');
      break;
    }
    expect(listeners(signal)).toBe(0);
  });

  it('ends with its signal', async () => {
    const leave = new AbortController();
    const changes = app.watch(accountView, await opened(), { signal: leave.signal });
    await soon('the snapshot', changes.next());
    const waiting = changes.next();
    leave.abort();
    expect(await soon('the waiting call', waiting)).toEqual(end);
  });

  it('refuses an id that cannot be one with its call', () => {
    expect(() => app.watch(accountView, '')).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }));
  });

  it('ends when the app stops', async () => {
    const changes = app.watch(accountView, await opened());
    await soon('the snapshot', changes.next());
    const waiting = changes.next();
    await app.stop();
    expect(await soon('the waiting call', waiting)).toEqual(end);
  });
});
