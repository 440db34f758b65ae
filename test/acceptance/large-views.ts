/**
 * Acceptance: lists and counts of a view with 1,000,000 documents, and a start that finds a declared index missing.
 *
 *     MONGODB_URL=… node --conditions=millrace-source --import tsx test/acceptance/large-views.ts [COUNT]
 *
 * Fills a view of a database of its own, opens it with two new indexes (prints what the start says meanwhile), asks for pages and
 * counts, drops an index and asks again, drops the database. Ends with 1 when a page takes over 100 ms or a count over 1,000 ms,
 * or when what no index serves is not refused.
 */
import { z } from 'zod';
import { partitionOf } from '../../src/define/partition.ts';
import type { SortInput } from '../../src/engine/contract/runtime.ts';
import { createViewReads, type Ready } from '../../src/engine/reads/read-view.ts';
import { createViewHandles } from '../../src/engine/views/view-handles.ts';
import { aggregate, buildModel, isMillraceError, module, projector, view } from '../../src/index.ts';
import { connect } from '../../src/store/connect.ts';
import type { ViewDocument } from '../../src/store/documents.ts';
import { openStore } from '../../src/store/open-store.ts';

const BATCH_COUNT = 10_000;
const PAGE_MAX_MS = 100;
const COUNT_MAX_MS = 1_000;
const fields = { id: z.string(), group: z.string(), rank: z.number(), half: z.boolean() };
const thing = aggregate({
  name: 'thing',
  events: { Put: z.object({}) },
  commands: { Put: z.object({}) },
  initial: () => null,
  evolve: { Put: () => null },
  decide: { Put: () => ({ type: 'Put', data: {} }) },
});
function modelWith(indexes: readonly { readonly group?: 1; readonly rank?: 1; readonly half?: 1 }[]) {
  const things = view('thing', z.object(fields), { indexes });
  const on = { Put: () => null } as const;
  const put = projector({ name: 'things', version: 1, from: [thing], into: things, on });
  return buildModel([module({ name: 'things', parts: [thing, things, put] })]);
}

const url = process.env.MONGODB_URL;
if (url === undefined) throw new Error('Set MONGODB_URL.');
const count = Number(process.argv[2] ?? 1_000_000);
const database = `large_views_${process.pid}`;
const options = { url, database, appName: 'large-views', logId: 'main' };
const connection = await connect(options);
const failures: string[] = [];
try {
  await (await openStore({ ...options, model: modelWith([{ group: 1 }]) })).close();
  const collection = connection.db.collection<ViewDocument>('view_thing_g1');
  for (let begin = 0; begin < count; begin += BATCH_COUNT) {
    await collection.insertMany(
      Array.from({ length: Math.min(BATCH_COUNT, count - begin) }, (_, n) => documentAt(begin + n)),
      { ordered: false },
    );
  }
  const model = modelWith([{ group: 1 }, { rank: 1 }, { half: 1, rank: 1 }]);
  const store = await openStore({ ...options, model, onIndexBuild: (build) => console.log(JSON.stringify(build)) });
  const handle = createViewHandles(model, store.views).get('thing');
  const reads = createViewReads({ logId: 'main' });
  const ready: Ready = (_view, read) => read();
  const filterOf = (group: string) => new Map([['group', new Map([['eq', group]] as const)]] as const);
  const byRank: readonly SortInput[] = [{ field: 'rank', direction: 1 }];
  const asked = async (name: string, maxMs: number, ask: () => Promise<unknown>): Promise<void> => {
    await ask();
    const begun = performance.now();
    const answer = await ask();
    const ms = Math.round((performance.now() - begun) * 10) / 10;
    console.log(`${name}: ${ms} ms, ${JSON.stringify(answer)}`);
    if (ms > maxMs) failures.push(`${name} took ${ms} ms`);
  };
  const pages = { 'first page': {}, 'by rank': { sort: byRank }, 'of a group': { filter: filterOf('g7') } };
  for (const [name, query] of Object.entries(pages)) {
    await asked(name, PAGE_MAX_MS, async () => (await reads.documents(handle, query, ready)).edges.length);
    await asked(`count, ${name}`, COUNT_MAX_MS, async () => reads.count(handle, query, ready));
  }
  const refused = async (name: string, ask: () => Promise<unknown>): Promise<void> => {
    const error = await ask().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    console.log(`${name}: ${error instanceof Error ? error.message : 'served'}`);
    if (!isMillraceError(error, 'INDEX_MISSING')) failures.push(`${name} was not refused`);
  };
  const grouped = { filter: filterOf('g7'), sort: byRank };
  await refused('no such index declared', () => reads.documents(handle, grouped, ready));
  await collection.dropIndex('rank_1__id_1');
  await refused('index dropped', () => reads.documents(handle, { sort: byRank }, ready));
  await refused('index dropped, count', () => reads.count(handle, { sort: byRank }, ready));
  console.log(`missing: ${(await store.missingIndexes()).join('; ')}`);
  await store.close();
} finally {
  await connection.db.dropDatabase();
  await connection.client.close();
}
for (const failure of failures) console.error(failure);
if (failures.length > 0) process.exitCode = 1;

function documentAt(n: number): ViewDocument {
  const id = `t${String(n).padStart(7, '0')}`;
  const marks = { _id: id, _partition: partitionOf(id, 16), _revision: 1, _position: 1, _version: 1, _origins: [] };
  return { ...marks, id, group: `g${n % 200}`, rank: n, half: n % 2 === 0 };
}
