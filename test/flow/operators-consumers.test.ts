import { createClient } from 'graphql-ws';
import { afterAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import type { InstanceDocument, PartitionDocument } from '../../src/store/documents.ts';
import { socketUrl, values } from '../setup/gateway.ts';
import { type Bugs, startParcels } from '../setup/operators.ts';
import { until } from '../setup/until.ts';

const none = (): undefined => undefined;
const bugs: Bugs = { trouble: none };
const parcels = await startParcels(bugs, { attempts: 2 });
const sockets = createClient({ url: socketUrl(parcels.url), webSocketImpl: WebSocket });
afterAll(async () => {
  await sockets.dispose();
  await parcels.stop();
});
const { data, code, move, db } = parcels;

const CONSUMERS = `{ consumers { name kind state paused { reason actor since } position logEnd lag lagSeconds caughtUp
  retryingCount deadCount parkedCount failingSince } }`;
const PAUSE =
  'mutation($name: String!, $reason: String!) { pauseConsumer(name: $name, reason: $reason) { name state paused { reason } } }';
const RESUME =
  'mutation($name: String!, $reason: String!) { resumeConsumer(name: $name, reason: $reason) { name state } }';
const COUNTS = 'position logEnd eventCount skippedCount documentCount deadLetterCount effects';
const PREVIEW = `query($name: String!, $to: ConsumerStart!) { previewReset(name: $name, to: $to) { ${COUNTS} } }`;
const RESET = `mutation($name: String!, $to: ConsumerStart!, $reason: String!) {
  resetConsumer(name: $name, to: $to, reason: $reason) { ${COUNTS} } }`;
const AUDIT =
  'query($filter: AuditFilter) { audit(filter: $filter) { edges { node { action reason target before after } } } }';

const consumer = async (name: string) =>
  (await data(CONSUMERS)).consumers.find((one: { readonly name: string }) => one.name === name);
/** With every move: what was accepted gets its position a little later. */
const level = (name: string) =>
  until(`${name} is level`, async () => {
    const movedCount = await db.collection('commits').countDocuments();
    const found = await consumer(name);
    return found.caughtUp && found.lag === 0 && Number(found.logEnd) === movedCount ? found : undefined;
  });
const place = async (id: string) => (await data('query($id: ID!) { place(id: $id) { place moves } }', { id })).place;
const partitions = () => db.collection<PartitionDocument>('partitions').find({ consumer: 'places' }).toArray();

test('a paused consumer stands still while others go on, and says why; resumed, it goes on where it stood', async () => {
  await move('a', 'one');
  await level('places');
  const { pauseConsumer } = await data(PAUSE, { name: 'places', reason: 'look at it' });
  expect(pauseConsumer).toEqual({ name: 'places', state: 'PAUSED', paused: { reason: 'look at it' } });
  const before = await partitions();
  for (const to of ['two', 'three']) await move('a', to);
  await level('counts');
  const paused = await until('places lags', async () => {
    const found = await consumer('places');
    return found.lag >= 2 && found.lagSeconds > 0 ? found : undefined;
  });
  expect(paused).toMatchObject({
    kind: 'PROJECTOR',
    state: 'PAUSED',
    caughtUp: false,
    deadCount: 0,
    failingSince: null,
  });
  expect(await place('a')).toEqual({ place: 'one', moves: 1 });
  const ready = await (await fetch(`${parcels.url}/ready`)).text();
  expect(ready).toContain('consumer \\"places\\" (generation 1) is paused by an operator');
  // Nobody wrote for it: not even its revisions moved.
  const key = ({ _id, revision, checkpoint }: PartitionDocument) => `${_id} ${revision} ${checkpoint}`;
  expect((await partitions()).map(key)).toEqual(before.map(key));
  // A second pause changes nothing and is no entry in the audit.
  await data(PAUSE, { name: 'places', reason: 'again' });
  expect((await data(RESUME, { name: 'places', reason: 'done' })).resumeConsumer).toMatchObject({ state: 'RUNNING' });
  await level('places');
  expect(await place('a')).toEqual({ place: 'three', moves: 3 });
  const { audit } = await data(AUDIT, { filter: { target: 'places/1' } });
  expect(
    audit.edges.map(({ node }: { node: { action: string; reason: string } }) => [node.action, node.reason]),
  ).toEqual([
    ['consumer.resume', 'done'],
    ['consumer.pause', 'look at it'],
  ]);
});

test('a retry of a dead letter waits until its consumer is resumed', async () => {
  bugs.trouble = (to) => (to === 'wall' ? new Error('a wall') : undefined);
  await move('b', 'wall');
  await parcels.blocked(1);
  await data(PAUSE, { name: 'places', reason: 'a wall' });
  bugs.trouble = none;
  const retry = 'mutation { retryDeadLetters(filter: { key: "b" }, reason: "the wall is gone") { id } }';
  const { retryDeadLetters } = await data(retry);
  await until('it is released', async () => {
    const { operation } = await data(`{ operation(id: "${retryDeadLetters.id}") { state doneCount } }`);
    return operation.state === 'DONE' && operation.doneCount === 1 ? true : undefined;
  });
  expect(await consumer('places')).toMatchObject({ state: 'PAUSED', retryingCount: 1, deadCount: 0 });
  await data(RESUME, { name: 'places', reason: 'go' });
  await until('it is healed', async () => ((await place('b'))?.place === 'wall' ? true : undefined));
});

test('a projector is reset only while it is paused: its documents go, watchers are told, and it fills again', async () => {
  bugs.trouble = (to) => (to === 'pit' ? new Error('a pit') : undefined);
  await move('c', 'pit');
  await move('c', 'top');
  await parcels.blocked(1);
  await until('the other waits', async () => ((await parcels.parked.countDocuments()) === 1 ? true : undefined));
  const to = { start: true };
  const { previewReset } = await data(PREVIEW, { name: 'places', to });
  const end = Number((await consumer('places')).logEnd);
  expect(previewReset).toMatchObject({
    position: '0',
    logEnd: String(end),
    eventCount: end,
    skippedCount: 0,
    documentCount: 2,
    deadLetterCount: 1,
  });
  expect(previewReset.effects.join(' ')).toMatch(/All 2 documents .*1 dead letters are removed/s);
  expect(await code(RESET, { name: 'places', to, reason: 'again' })).toBe('CONSUMER_RUNNING');

  const query = 'subscription { placeChanged(id: "a") { signal version node { place moves } } }';
  type Change = { readonly data?: { readonly placeChanged: Record<string, unknown> } | null };
  const changes = values(sockets.iterate({ query }) as AsyncIterable<Change>);
  const first = (await changes.next('the document now')).data?.placeChanged;
  expect(first).toMatchObject({ signal: 'SNAPSHOT', node: { moves: 3 } });
  await data(PAUSE, { name: 'places', reason: 'reset' });
  bugs.trouble = none;
  expect((await data(RESET, { name: 'places', to, reason: 'built anew' })).resetConsumer).toEqual(previewReset);
  expect(await consumer('places')).toMatchObject({ state: 'PAUSED', position: '0', deadCount: 0, parkedCount: 0 });
  expect(await place('a')).toBeNull();
  expect(await parcels.letters.countDocuments()).toBe(0);
  expect(await parcels.parked.countDocuments()).toBe(0);

  await data(RESUME, { name: 'places', reason: 'fill' });
  await level('places');
  expect(await place('a')).toEqual({ place: 'three', moves: 3 });
  expect(await place('b')).toEqual({ place: 'wall', moves: 1 });
  expect(await place('c')).toEqual({ place: 'top', moves: 2 });
  let last = first;
  const signals = new Set<unknown>();
  while (!(last?.signal === 'UPDATE' && (last.node as { moves: number }).moves === 3)) {
    const next = (await changes.next('the rebuilt document')).data?.placeChanged;
    if (next?.version != null) expect(Number(next.version)).toBeGreaterThan(Number(last?.version ?? 0));
    if (next?.version != null) last = next;
    signals.add(next?.signal);
  }
  await changes.end();
  const { audit } = await data(AUDIT, { filter: { action: 'consumer.reset' } });
  expect(audit.edges[0].node).toMatchObject({ reason: 'built anew', target: 'places/1', after: { position: 0 } });
});

test('a key that fails again after a reset is tried again when its policy says', async () => {
  bugs.trouble = (to) => (to === 'pit' ? new Error('a pit again') : undefined);
  await data(PAUSE, { name: 'places', reason: 'reset' });
  await data(RESET, { name: 'places', to: { start: true }, reason: 'built anew' });
  await data(RESUME, { name: 'places', reason: 'fill' });
  await parcels.blocked(1);
  const [letter] = await parcels.letters.find().toArray();
  expect(letter).toMatchObject({ key: 'c', attempts: 2, parkedCount: 1 });
  bugs.trouble = none;
  await data('mutation { retryDeadLetters(filter: {}, reason: "the pit is filled") { id } }');
  await until('it is healed', async () => ((await place('c'))?.place === 'top' ? true : undefined));
});

test('a read with atLeast after a reset waits until the view was filled so far', async () => {
  const sent = await move('d', 'home');
  const token = 'token' in sent ? sent.token : '';
  const query =
    'query($token: Token, $timeoutMs: Int) { place(id: "d", atLeast: $token, timeoutMs: $timeoutMs) { moves } }';
  expect((await data(query, { token })).place).toEqual({ moves: 1 });
  await data(PAUSE, { name: 'places', reason: 'reset' });
  await data(RESET, { name: 'places', to: { start: true }, reason: 'again' });
  expect(await code(query, { token, timeoutMs: 100 })).toBe('VIEW_BEHIND');
  await data(RESUME, { name: 'places', reason: 'fill' });
  expect((await data(query, { token, timeoutMs: 10_000 })).place).toEqual({ moves: 1 });
});

test('a reset to a position or time leaves out what came before', async () => {
  const end = Number((await consumer('counts')).logEnd);
  await data(PAUSE, { name: 'counts', reason: 'x' });
  const at = { name: 'counts', to: { position: String(end - 2) } };
  expect((await data(PREVIEW, at)).previewReset).toMatchObject({ eventCount: 2, position: String(end - 2) });
  await data(RESET, { ...at, reason: 'only the last' });
  await data(RESUME, { name: 'counts', reason: 'x' });
  await until('it counted two', async () => {
    const { moveCount } = await data('{ moveCount(id: "all") { count } }');
    return moveCount?.count === 2 ? true : undefined;
  });
  const inFuture = { name: 'counts', to: { time: '9999-01-01T00:00:00Z' } };
  expect((await data(PREVIEW, inFuture)).previewReset).toMatchObject({ eventCount: 0, position: String(end) });
  const inPast = { name: 'counts', to: { time: '1970-01-01T00:00:00Z' } };
  expect((await data(PREVIEW, inPast)).previewReset).toMatchObject({ eventCount: end, position: '0' });
});

test('whatever is asked wrongly is refused with its code', async () => {
  expect(await code(PAUSE, { name: 'nobody', reason: 'x' })).toBe('UNKNOWN_CONSUMER');
  expect(await code(PAUSE, { name: 'places', reason: ' ' })).toBe('REASON_MISSING');
  expect(await code(RESUME, { name: 'places', reason: '' })).toBe('REASON_MISSING');
  expect(await code(PREVIEW, { name: 'places', to: {} })).toBe('BAD_INPUT');
  expect(await code(PREVIEW, { name: 'places', to: { start: true, now: true } })).toBe('BAD_INPUT');
  expect(await code(PREVIEW, { name: 'places', to: { position: '-5' } })).toBe('BAD_INPUT');
  expect(await code(PREVIEW, { name: 'places', to: { position: '99999999999999999999' } })).toBe('BAD_INPUT');
  expect(await code(PREVIEW, { name: 'places', to: { time: 'tomorrow' } })).toBe('BAD_INPUT');
  const retire =
    'mutation($name: String!, $generation: Int!, $reason: String!) { retireConsumer(name: $name, generation: $generation, reason: $reason) }';
  expect(await code(retire, { name: 'places', generation: 1, reason: 'x' })).toBe('CONSUMER_RUNNING');
  expect(await code(retire, { name: 'places', generation: 7, reason: 'x' })).toBe('UNKNOWN_CONSUMER');
});

test('a generation that no module has any more is shown, and can be retired with all that it left', async () => {
  const old = { consumer: 'places', version: 0, generation: 0, kind: 'projector' as const, view: 'place' };
  const updatedAt = new Date(Date.now() - 60_000);
  const consumers = db.collection<{ _id: string }>('consumers');
  await consumers.insertOne({ _id: 'main/places/0', ...old, partitionCount: 1, createdAt: updatedAt } as never);
  const partition = { consumer: 'places', generation: 0, partition: 0, checkpoint: 1, revision: 3, updatedAt };
  await db.collection<PartitionDocument>('partitions').insertOne({ _id: 'main/places/0/0', ...partition });
  await db.collection('view_place_g0').insertOne({ place: 'nowhere' });
  const { consumers: shown } = await data('{ consumers(unused: true) { name generation state } }');
  expect(shown).toContainEqual({ name: 'places', generation: 0, state: 'UNUSED' });
  expect((await data('{ consumers { generation } }')).consumers).not.toContainEqual({ generation: 0 });
  const retire = 'mutation { retireConsumer(name: "places", generation: 0, reason: "version 1 is out") }';
  // A process that has nothing to do for it writes nothing.
  const idle = { host: 'other', pid: 1, role: 'worker', sessions: [], startedAt: new Date() };
  const heartbeatAt = new Date(Date.now() + 60_000);
  const instances = db.collection<InstanceDocument>('instances');
  await instances.insertOne({ _id: 'idle', ...idle, consumers: ['main/places/0'], heartbeatAt });
  expect(await code(retire)).toBe('CONSUMER_RUNNING');
  await instances.deleteOne({ _id: 'idle' });
  await data(retire);
  expect((await data('{ consumers(unused: true) { generation } }')).consumers).not.toContainEqual({ generation: 0 });
  expect(await db.listCollections({ name: 'view_place_g0' }).toArray()).toEqual([]);
  expect(await db.collection<PartitionDocument>('partitions').countDocuments({ generation: 0 })).toBe(0);
  const { audit } = await data(AUDIT, { filter: { action: 'consumer.retire' } });
  expect(audit.edges[0].node).toMatchObject({ target: 'places/0', reason: 'version 1 is out' });
});
