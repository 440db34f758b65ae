/**
 * Acceptance: a page of `events` costs the same at the start and at the end of a log of 1,000,000 events.
 *
 *     MONGODB_URL=… node --conditions=millrace-source --import tsx test/acceptance/event-pages.ts [COUNT]
 *
 * Fills a database of its own, asks for the same pages at three places, prints what MongoDB examined for each, drops the
 * database, and ends with 1 when a page examined more than 60 keys or documents or scanned the log.
 */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { EventFilterInput, PageInput } from '../../src/engine/contract/runtime.ts';
import { decodeEvent } from '../../src/engine/log/decode-event.ts';
import { decodeOnce } from '../../src/engine/log/decode-once.ts';
import { readEvents } from '../../src/engine/reads/read-events.ts';
import { encodeEventCursor } from '../../src/engine/views/cursor.ts';
import { aggregate, buildModel, event, module, streamKey } from '../../src/index.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import { createEventPages } from '../../src/store/event-pages.ts';
import { createLogStore, ensureLog } from '../../src/store/log.ts';

const PAGE_COUNT = 20;
const EXAMINED_MAX_COUNT = 60;
const BATCH_COUNT = 5_000;
const LOG_ID = 'main';

const item = aggregate({
  name: 'item',
  events: { ItemPut: event(z.object({ rank: z.number() }), { version: 1 }), ItemSeen: z.object({}) },
  commands: { PutItem: z.object({ rank: z.number() }) },
  initial: () => null,
  evolve: { ItemPut: () => null, ItemSeen: () => null },
  decide: { PutItem: (_state, data) => ({ type: 'ItemPut', data }) },
});
const model = buildModel([module({ name: 'pages', parts: [item] })]);

/** Fills an empty log: a rare and a frequent type, one stream with every tenth event, 1,000 flows, an actor of every thousandth. */
export async function fillLog({ client, db }: Connection, count: number): Promise<void> {
  await ensureLog(db, new Set());
  const log = createLogStore(client, db);
  const versions = new Map<string, number>();
  for (let start = 0; start < count; start += BATCH_COUNT) {
    const batch = Array.from({ length: Math.min(BATCH_COUNT, count - start) }, (_, n) => eventAt(start + n, versions));
    await log.place(batch);
    if (start % 100_000 === 0) console.error(`${start} of ${count} events`);
  }
}

function eventAt(n: number, versions: Map<string, number>): LogDocument {
  const stream = streamKey({ tenant: 'default', aggregate: 'item', id: n % 10 === 0 ? 'long' : `i${n % 20_000}` });
  const version = (versions.get(stream) ?? 0) + 1;
  versions.set(stream, version);
  const rare = n % 1_000 === 3;
  return {
    _id: n + 1,
    id: randomUUID(),
    type: rare ? 'ItemSeen' : 'ItemPut',
    schemaVersion: 1,
    stream,
    version,
    data: rare ? {} : { rank: n },
    meta: {
      correlationId: `flow${n % 1_000}`,
      causationId: null,
      actor: n % 1_000 === 5 ? 'ada' : null,
      tenant: 'default',
      traceparent: null,
      client: null,
    },
    commandId: `c${n}`,
    at: new Date(Date.UTC(2026, 0, 1) + n * 10),
  };
}

export interface PageCost {
  readonly filter: string;
  readonly place: string;
  readonly ms: number;
  readonly keysExamined: number;
  readonly docsExamined: number;
  readonly plans: readonly string[];
}

/** What pages cost at the start, in the middle and at the end of a log, by MongoDB's profiler (explain of each read). */
export async function measurePages({ client, db }: Connection, count: number): Promise<readonly PageCost[]> {
  const deps = { model, logId: LOG_ID, pages: createEventPages(client, db), toEvent: decodeEvent(decodeOnce(model)) };
  const filters: Readonly<Record<string, EventFilterInput>> = {
    none: {},
    'rare type': { types: ['ItemSeen'] },
    'both types': { types: ['ItemSeen', 'ItemPut'] },
    aggregate: { aggregate: 'item' },
    'long stream': { aggregate: 'item', aggregateId: 'long' },
    correlationId: { correlationId: 'flow7' },
    actor: { actor: 'ada' },
  };
  const places: Readonly<Record<string, PageInput>> = {
    start: { first: PAGE_COUNT },
    middle: { first: PAGE_COUNT, after: encodeEventCursor(LOG_ID, Math.floor(count / 2)) },
    'near end': { first: PAGE_COUNT, after: encodeEventCursor(LOG_ID, count - 30_000) },
    end: { last: PAGE_COUNT },
  };
  const costs: PageCost[] = [];
  for (const [filter, input] of Object.entries(filters)) {
    for (const [place, page] of Object.entries(places)) {
      await readEvents(deps, input, page);
      const begun = performance.now();
      const { edges } = await readEvents(deps, input, page);
      const ms = Math.round((performance.now() - begun) * 10) / 10;
      if (edges.length !== PAGE_COUNT) throw new Error(`${filter} at ${place} gave ${edges.length} events`);
      await db.command({ profile: 2 });
      await readEvents(deps, input, page);
      await db.command({ profile: 0 });
      const reads = await db
        .collection('system.profile')
        .find({ ns: `${db.databaseName}.events` })
        .toArray();
      await db.collection('system.profile').drop();
      const sum = (field: string): number => reads.reduce((total, read) => total + Number(read[field] ?? 0), 0);
      const [keysExamined, docsExamined] = [sum('keysExamined'), sum('docsExamined')];
      costs.push({
        filter,
        place,
        ms,
        keysExamined,
        docsExamined,
        plans: reads.map((read) => String(read.planSummary)),
      });
    }
  }
  return costs;
}

async function main(): Promise<void> {
  const url = process.env.MONGODB_URL;
  if (url === undefined) throw new Error('Set MONGODB_URL.');
  const count = Number(process.argv[2] ?? 1_000_000);
  const connection = await connect({ url, database: `event_pages_${process.pid}`, appName: 'event-pages' });
  try {
    await fillLog(connection, count);
    const costs = await measurePages(connection, count);
    console.table(costs.map(({ plans, ...cost }) => ({ ...cost, plans: [...new Set(plans)].join('; ') })));
    const most = Math.max(...costs.flatMap(({ keysExamined, docsExamined }) => [keysExamined, docsExamined]));
    console.log(`${count} events; at most ${most} keys or documents examined for a page of ${PAGE_COUNT}.`);
    const scans = costs.filter(({ plans }) => plans.includes('COLLSCAN'));
    if (most > EXAMINED_MAX_COUNT || scans.length > 0) process.exitCode = 1;
  } finally {
    await connection.db.dropDatabase();
    await connection.client.close();
  }
}

if (process.argv[1]?.endsWith('event-pages.ts')) await main();
