import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, expect, it } from 'vitest';
import { ResumingClient } from '../setup/resuming-clients.ts';
import { DEPOSIT, OPEN, post, postAnywhere, roleProcesses } from '../setup/role-processes.ts';
import { testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

/** In full: test/acceptance/rolling-restart.ts. */
const processes = roleProcesses(testServers());
afterAll(() => processes.killAll());

it('two gateways are restarted one after the other under load: subscribers are told to come back, and miss nothing', async () => {
  processes.worker();
  const gateways = await Promise.all([processes.gateway(), processes.gateway()]);
  const ports = gateways.map(({ port }) => port);
  const ids = Array.from({ length: 10 }, () => randomUUID());
  const sums = new Map<string, number>(ids.map((id) => [id, 0]));
  for (const id of ids) await post(ports[0] ?? 0, OPEN, { id });
  const clients = Array.from({ length: 30 }, (_, turn) => {
    const id = ids[turn % ids.length] ?? '';
    const watched = [{ kind: 'document', id } as const, { kind: 'log' } as const, { kind: 'list' } as const];
    return new ResumingClient(watched[turn % 3] ?? { kind: 'list' }, { ports, turn });
  });
  const all = () => until('all subscribers', () => clients.every((one) => one.connected && one.caughtUp) || undefined);
  await all();

  const over = new AbortController();
  const writing = (async () => {
    for (let n = 0; !over.signal.aborted; n++) {
      const id = ids[n % ids.length] ?? '';
      await postAnywhere(ports, DEPOSIT, { id, commandId: randomUUID(), amount: 1 });
      sums.set(id, (sums.get(id) ?? 0) + 1);
      await wait(20);
    }
  })();
  for (const gateway of gateways) {
    gateway.child.kill('SIGTERM');
    expect(await gateway.exited).toBe(0);
    await processes.gateway(gateway.port);
    await all();
  }
  over.abort();
  await writing;

  // Nothing else was written: an opening each, and the deposits. The last of them may have no position yet.
  const end = [...sums.values()].reduce((events, deposits) => events + deposits, ids.length);
  const logs = clients.filter(({ watched }) => watched.kind === 'log');
  const views = clients.filter(({ watched }) => watched.kind !== 'log');
  await until('the logs', () => logs.every(({ positions }) => Math.max(...positions) === end) || undefined);
  for (const { positions } of logs) {
    const from = Math.min(...positions);
    expect([...positions].sort((a, b) => a - b)).toEqual(Array.from({ length: end - from + 1 }, (_, n) => from + n));
  }
  const right = ({ watched, balances }: ResumingClient): boolean =>
    (watched.kind === 'document' ? [watched.id] : ids).every((id) => balances.get(id) === sums.get(id));
  await until('the views', () => views.every(right) || undefined, {
    seen: () => views.map(({ balances }) => balances),
  });

  expect(clients.flatMap(({ problems, gaps }) => [...problems, ...gaps])).toEqual([]);
  expect(new Set(clients.flatMap(({ closedAt }) => closedAt.map(({ code }) => code)))).toEqual(new Set([1012]));
  await Promise.all(clients.map((one) => one.end()));
}, 300_000);
