import { hostname } from 'node:os';
import { afterAll, describe, expect, it } from 'vitest';
import { Delivery } from '../../src/engine/delivery/delivery.ts';
import { encodeToken } from '../../src/engine/log/token.ts';
import { Membership } from '../../src/engine/processes/membership.ts';
import { createLogger } from '../../src/logger.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import { until } from '../setup/until.ts';
import {
  bare,
  codeOf,
  type Gateway,
  model,
  type PlacedEvent,
  POISON_RANK,
  type ReadsFixture,
  readsFixture,
} from './reads-fixture.ts';

/** Reads over what the real consumers write: one gateway in their process, one that hears of it as over Redis. */
const fixture: ReadsFixture = await readsFixture();
const near: Gateway = await fixture.gateway();
const far: Gateway = await fixture.gateway();
near.bus.listen((hint) => {
  if (hint.kind !== 'view') far.bus.publish(hint);
  else bare(hint, [far]);
});
const logger = createLogger({ level: 'silent', pretty: false });
const membership = new Membership({
  store: fixture.delivery.instances,
  self: { id: 'reads-test', host: hostname(), pid: process.pid, role: 'all' },
  sessions: () => fixture.delivery.partitions.sessionIds(),
  logger,
});
await membership.start();
let delivery: Delivery | undefined;
async function startConsumers(): Promise<void> {
  const { bus: hints, logReader: reader } = near;
  delivery = new Delivery({ store: fixture.delivery, model, reader, hints, membership, logger });
  await delivery.start();
}
async function stopConsumers(): Promise<void> {
  await delivery?.stop();
  delivery = undefined;
}
await startConsumers();
afterAll(async () => {
  await stopConsumers();
  await membership.stop();
});

let turn: Promise<unknown> = Promise.resolve();
/** Places events of one command, one command after the other as a sequencer does. */
function place(events: readonly PlacedEvent[]): Promise<string> {
  const next = turn.then(async () => {
    const placed = await fixture.place(events, false);
    near.logReader.offer(placed);
    near.bus.publish({ kind: 'log', end: fixture.end });
    return tokenOf(placed);
  });
  turn = next.catch(() => undefined);
  return next;
}
const tokenOf = ([first, ...more]: readonly LogDocument[]): string =>
  encodeToken({
    logId: 'main',
    stream: first!.stream,
    commandId: first!.commandId,
    firstVersion: first!.version,
    eventCount: 1 + more.length,
  });
const put = (id: string, rank: number, group = 'g'): PlacedEvent => ({ type: 'ItemPut', id, data: { group, rank } });

describe('a read with the token of a write', () => {
  it('is never stale: 1,000 times, on the gateway that wrote and on another', async () => {
    let stale = 0;
    const one = async (n: number): Promise<void> => {
      const id = `fresh${n % 100}`;
      const token = await place([put(id, n)]);
      const { reads } = n % 2 === 0 ? near : far;
      const ids = n % 3 === 0 ? (await reads.documents('item', { first: 1_000, atLeast: token })).edges : [];
      const seen =
        n % 3 === 0
          ? ids.find(({ node }) => node.id === id)?.node
          : await reads.document('item', id, { atLeast: token });
      if (Number(seen?.document.rank ?? -1) < n) stale++;
    };
    for (let start = 0; start < 1_000; start += 20) {
      await Promise.all(Array.from({ length: 20 }, (_, k) => one(start + k)));
    }
    expect(stale).toBe(0);
  });

  it('is VIEW_BEHIND while the projector is paused, and comes through when it goes on', async () => {
    await stopConsumers();
    const token = await place([put('paused', 1)]);
    for (const { reads } of [near, far]) {
      const read = reads.document('item', 'paused', { atLeast: token, timeoutMs: 100 });
      await expect(read).rejects.toMatchObject({ code: 'VIEW_BEHIND', details: { reason: 'LAGGING' } });
    }
    const waiting = [near, far].map(({ reads }) => reads.document('item', 'paused', { atLeast: token }));
    await startConsumers();
    expect((await Promise.all(waiting)).map((one) => one?.document.rank)).toEqual([1, 1]);
  });
});

describe('subscribers of both gateways', () => {
  it('end with what the view holds, and see versions only rise, while 3,000 events are handled', async () => {
    const ids = Array.from({ length: 40 }, (_, n) => `w${n}`);
    const controller = new AbortController();
    const problems: string[] = [];
    const states = [near, far, far, near].map(({ reads }, n) => {
      const state = new Map<string, number>();
      const filter = new Map([['group', new Map([['eq', 'watched'] as const])]]);
      const stream =
        n < 3
          ? reads.watchDocuments('item', filter, undefined, controller.signal)
          : reads.watchDocument('item', 'w0', undefined, controller.signal);
      void codeOf(async () => {
        for await (const { signal, id, node } of stream) {
          if (id === null) continue;
          if (node !== null && node.version <= (state.get(id) ?? 0)) problems.push(`${signal} ${id} ${node.version}`);
          state.set(id, node?.version ?? 0);
        }
      }).then((code) => code !== 'no error' && problems.push(code));
      return state;
    });
    for (let n = 0; n < 100; n++) {
      await place(Array.from({ length: 30 }, (_, k) => put(ids[(n * 7 + k) % 40]!, n * 30 + k, 'watched')));
    }
    for (const [n, state] of states.entries()) {
      const expected = n < 3 ? ids : ['w0'];
      await until(
        'the last state',
        async () => {
          const stored = await fixture.collection.find({ _id: { $in: ids } }).toArray();
          const versions = new Map(stored.map(({ _id, _version }) => [_id, _version]));
          const handled = stored.reduce((sum, { _version }) => sum + _version, 0) === 3_000;
          return handled && expected.every((id) => state.get(id) === versions.get(id)) ? true : undefined;
        },
        { seen: () => [...state] },
      );
    }
    controller.abort();
    expect(problems).toEqual([]);
  });
});

describe('a key whose handler fails', () => {
  it('is VIEW_BEHIND, PARKED; keys of other partitions are served', async () => {
    const token = await place([put('poisoned', POISON_RANK)]);
    const reason = () =>
      far.reads.document('item', 'poisoned', { atLeast: token, timeoutMs: 50 }).then(
        () => 'read',
        (error: { details: { reason: string } }) => error.details.reason,
      );
    await until('PARKED', async () => ((await reason()) === 'PARKED' ? true : undefined));
    const other = await place([put('healthy', 1)]);
    expect(await far.reads.document('item', 'healthy', { atLeast: other })).toMatchObject({ document: { rank: 1 } });
  });
});
