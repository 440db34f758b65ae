import { createClient } from 'graphql-ws';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { socketUrl, values } from '../setup/gateway.ts';
import { type Bugs, startParcels } from '../setup/operators.ts';
import { until } from '../setup/until.ts';

const none = (): undefined => undefined;
const bugs: Bugs = { trouble: none };
const parcels = await startParcels(bugs);
const sockets = createClient({ url: socketUrl(parcels.url), webSocketImpl: WebSocket });
afterAll(async () => {
  await sockets.dispose();
  await parcels.stop();
});
beforeEach(() => {
  bugs.trouble = none;
});
const { data, code, move, blocked } = parcels;

const LETTER = `id consumer consumerKind key state input inputType position correlationId attempts maxAttempts parkedCount
  firstFailedAt nextAttemptAt error { code type message stack fingerprint issues { path message } }
  event { type data position aggregateId } parkedEvents(first: 2) { edges { node { position event { data } } } pageInfo { hasNextPage } }`;
const LETTERS = `query($filter: DeadLetterFilter, $first: Int, $after: Cursor) {
  deadLetters(filter: $filter, first: $first, after: $after) { edges { cursor node { ${LETTER} } } pageInfo { hasNextPage endCursor } } }`;
const RETRY = `mutation($filter: DeadLetterFilter!, $rate: Float, $reason: String!) {
  retryDeadLetters(filter: $filter, ratePerSecond: $rate, reason: $reason) { id kind state totalCount doneCount filter reason } }`;
const SKIP = `mutation($id: ID!, $position: String, $reason: String!) {
  skipDeadLetter(id: $id, position: $position, reason: $reason) { id state position event { data } } }`;
const AUDIT = `query($filter: AuditFilter) { audit(filter: $filter) { edges { node { action actor reason target before after at } } } }`;

async function letters(filter: object = {}) {
  const { deadLetters } = await data(LETTERS, { filter });
  return deadLetters.edges.map(({ node }: { node: object }) => node);
}
/** The dead letter of a key, when so many events wait behind it. */
const waiting = (key: string, count: number) =>
  until(`${count} events wait behind ${key}`, async () => {
    const [found] = await letters({ key });
    return found?.parkedCount === count ? found : undefined;
  });
const place = async (id: string) => (await data('query($id: ID!) { place(id: $id) { place moves } }', { id })).place;
const healed = (id: string, expected: object) =>
  until(`${id} is ${JSON.stringify(expected)}`, async () => {
    const found = await place(id);
    return JSON.stringify(found) === JSON.stringify(expected) ? true : undefined;
  });
const over = (id: string) =>
  until('the operation is over', async () => {
    const { operation } = await data('query($id: ID!) { operation(id: $id) { state doneCount totalCount } }', { id });
    return operation.state === 'RUNNING' ? undefined : operation;
  });

describe('a dead letter', () => {
  test('tells its event, what waits behind it and why, and flows again when it is retried', async () => {
    bugs.trouble = (to) => (to === 'sea' ? new TypeError('no ship for "p-1"') : undefined);
    await move('p-1', 'sea');
    await move('p-1', 'port');
    await move('p-1', 'hall');
    await move('p-1', 'shelf');
    await blocked(1);
    const letter = await waiting('p-1', 3);
    expect(letter).toMatchObject({
      consumer: 'places',
      consumerKind: 'PROJECTOR',
      key: 'p-1',
      state: 'DEAD',
      input: 'EVENT',
      inputType: 'Moved',
      attempts: 1,
      maxAttempts: 1,
      nextAttemptAt: null,
      error: { code: 'HANDLER_FAILED', type: 'TypeError', message: 'no ship for "p-1"', issues: [] },
      event: { type: 'Moved', data: { to: 'sea' }, aggregateId: 'p-1' },
      parkedEvents: {
        edges: [{ node: { event: { data: { to: 'port' } } } }, { node: { event: { data: { to: 'hall' } } } }],
        pageInfo: { hasNextPage: true },
      },
    });
    expect(letter.error.stack).toContain('TypeError');
    expect(letter.event.position).toBe(letter.position);

    const preview = `query($filter: DeadLetterFilter!) { previewRetry(filter: $filter) { keyCount eventCount oldest
      consumers { name keyCount eventCount } dryRun { result reason error { message } } } }`;
    const filter = { ids: [letter.id] };
    expect((await data(preview, { filter })).previewRetry).toMatchObject({
      keyCount: 1,
      eventCount: 4,
      oldest: letter.firstFailedAt,
      consumers: [{ name: 'places', keyCount: 1, eventCount: 4 }],
      dryRun: { result: 'WOULD_FAIL', error: { message: 'no ship for "p-1"' } },
    });
    bugs.trouble = none;
    expect((await data(preview, { filter })).previewRetry.dryRun).toEqual({
      result: 'WOULD_SUCCEED',
      reason: null,
      error: null,
    });
    expect(await place('p-1')).toBeNull();

    const { retryDeadLetters } = await data(RETRY, { filter, reason: 'the ship is back' });
    expect(retryDeadLetters).toMatchObject({ kind: 'RETRY_DEAD_LETTERS', totalCount: 1, reason: 'the ship is back' });
    await healed('p-1', { place: 'shelf', moves: 4 });
    expect(await over(retryDeadLetters.id)).toEqual({ state: 'DONE', doneCount: 1, totalCount: 1 });
    expect(await letters()).toEqual([]);
    const { audit } = await data(AUDIT, { filter: { target: retryDeadLetters.id } });
    expect(audit.edges).toHaveLength(1);
    expect(audit.edges[0].node).toMatchObject({
      action: 'deadLetters.retry',
      actor: null,
      reason: 'the ship is back',
      before: { count: 1, parkedCount: 3 },
    });
  });

  test('that fails again is dead again, and counts its tries anew', async () => {
    bugs.trouble = (to) => (to === 'fire' ? new Error('it burns') : undefined);
    await move('p-2', 'fire');
    await blocked(1);
    const [letter] = await letters({ key: 'p-2' });
    // Otherwise DEAD after one try looks as it did before.
    bugs.trouble = (to) => (to === 'fire' ? new Error('it burns again') : undefined);
    const { retryDeadLetters } = await data(RETRY, { filter: { ids: [letter.id] }, reason: 'maybe' });
    expect(await over(retryDeadLetters.id)).toMatchObject({ doneCount: 1 });
    const again = await until('it is dead again', async () => {
      const [found] = await letters({ key: 'p-2' });
      return found?.state === 'DEAD' && found.error.message === 'it burns again' ? found : undefined;
    });
    expect(again.attempts).toBe(1);
    await data(SKIP, { id: letter.id, reason: 'gone' });
    expect(await letters()).toEqual([]);
  });

  test('is skipped with a reason: the event stays in the log, and what waited behind it is handled', async () => {
    bugs.trouble = (to) => (to.startsWith('hell') ? new Error(`no way to ${to}`) : undefined);
    for (const to of ['hell-1', 'a', 'hell-2', 'b']) await move('p-3', to);
    await blocked(1);
    const first = await waiting('p-3', 3);
    const { skipDeadLetter } = await data(SKIP, { id: first.id, position: first.position, reason: 'never mind' });
    // What waited behind it is tried at once.
    expect(skipDeadLetter).toMatchObject({ id: first.id });
    expect(Number(skipDeadLetter.position)).toBeGreaterThan(Number(first.position));
    const second = await until('the next bad event is dead', async () => {
      const [found] = await letters({ key: 'p-3' });
      return found?.state === 'DEAD' && found.event.data.to === 'hell-2' ? found : undefined;
    });
    expect(await place('p-3')).toEqual({ place: 'a', moves: 1 });
    expect(await code(SKIP, { id: second.id, position: first.position, reason: 'again' })).toBe('DEAD_LETTER_BUSY');
    await data(SKIP, { id: second.id, position: second.position, reason: 'that too' });
    await healed('p-3', { place: 'b', moves: 2 });
    const { events } = await data(
      '{ events(filter: { aggregate: "parcel", aggregateId: "p-3" }) { edges { node { data } } } }',
    );
    expect(events.edges.map(({ node }: { node: { data: { to: string } } }) => node.data.to)).toEqual([
      'hell-1',
      'a',
      'hell-2',
      'b',
    ]);
    const { audit } = await data(AUDIT, { filter: { target: first.id, action: 'deadLetter.skip' } });
    const [newest, oldest] = audit.edges.map(({ node }: { node: object }) => node);
    expect(oldest).toMatchObject({
      reason: 'never mind',
      before: { position: Number(first.position), state: 'DEAD' },
      after: { state: 'RETRYING' },
    });
    expect(newest).toMatchObject({ reason: 'that too', before: { position: Number(second.position) } });
  });

  test('whatever is asked wrongly is refused with its code', async () => {
    const filter = { ids: ['f'.repeat(32)] };
    expect(await code(RETRY, { filter, reason: 'x' })).toBe('UNKNOWN_DEAD_LETTER');
    expect(await code(RETRY, { filter: {}, reason: '  ' })).toBe('REASON_MISSING');
    expect(await code(RETRY, { filter: {}, reason: 'x'.repeat(1_001) })).toBe('BAD_INPUT');
    expect(await code(RETRY, { filter: {}, reason: 'x', rate: 0 })).toBe('BAD_INPUT');
    expect(await code(RETRY, { filter: {}, reason: 'x', rate: -1 })).toBe('BAD_INPUT');
    expect(await code(RETRY, { filter: { since: 'yesterday' }, reason: 'x' })).toBe('BAD_INPUT');
    expect(await code(RETRY, { filter: { key: '\u0000' }, reason: 'x' })).toBe('BAD_INPUT');
    expect(await code(SKIP, { id: 'nothing', reason: 'x' })).toBe('UNKNOWN_DEAD_LETTER');
    expect(await code(SKIP, { id: 'nothing', reason: '' })).toBe('REASON_MISSING');
    expect(await code(SKIP, { id: 'nothing', reason: 'x', position: '-1' })).toBe('BAD_INPUT');
    expect(await code('mutation { stopOperation(id: "x", reason: "y") { id } }')).toBe('UNKNOWN_OPERATION');
    expect(await code('{ previewRetry(filter: { ids: ["x"] }) { keyCount } }')).toBe('UNKNOWN_DEAD_LETTER');
    expect(await code('{ deadLetters(after: "nonsense") { edges { cursor } } }')).toBe('BAD_CURSOR');
    expect(await code('{ audit(first: -1) { edges { cursor } } }')).toBe('BAD_INPUT');
    // Nothing matches: it is over at once.
    expect((await data(RETRY, { filter: {}, reason: 'x' })).retryDeadLetters).toMatchObject({
      state: 'DONE',
      totalCount: 0,
    });
  });
});

test('counts of blocked keys are told live', async () => {
  const query = 'subscription { deadLetterCounts { consumer retryingCount deadCount parkedCount } }';
  type Counts = { readonly data?: { readonly deadLetterCounts: readonly object[] } | null };
  const counts = values(sockets.iterate({ query }) as AsyncIterable<Counts>);
  expect((await counts.next('the counts now')).data?.deadLetterCounts).toEqual([]);
  bugs.trouble = (to) => (to === 'moon' ? new Error('far') : undefined);
  await move('p-9', 'moon');
  expect((await counts.next('one is blocked')).data?.deadLetterCounts).toEqual([
    { consumer: 'places', retryingCount: 0, deadCount: 1, parkedCount: 0 },
  ]);
  await counts.end();
  bugs.trouble = none;
  await data(RETRY, { filter: { key: 'p-9' }, reason: 'near now' });
  await healed('p-9', { place: 'moon', moves: 1 });
});

test('pages of dead letters hold each once, the one that failed first comes first', async () => {
  bugs.trouble = (to) => (to === 'fog' ? new Error('fog') : undefined);
  const ids = Array.from({ length: 7 }, (_, index) => `q-${index}`);
  for (const id of ids) await move(id, 'fog');
  await blocked(7);
  const seen: string[] = [];
  let after: string | null = null;
  for (let more = true; more; ) {
    const { deadLetters } = await data(LETTERS, { first: 3, after });
    seen.push(...deadLetters.edges.map(({ node }: { node: { key: string } }) => node.key));
    after = deadLetters.pageInfo.endCursor;
    more = deadLetters.pageInfo.hasNextPage;
  }
  expect([...seen].sort()).toEqual(ids);
  expect(await letters({ key: 'q-3' })).toHaveLength(1);
  expect(await letters({ eventType: 'Moved', consumer: 'places', state: 'DEAD' })).toHaveLength(7);
  expect(await letters({ consumer: 'counts' })).toHaveLength(0);
  expect(await letters({ until: new Date(0).toISOString() })).toHaveLength(0);
  bugs.trouble = none;
  const { retryDeadLetters } = await data(RETRY, { filter: {}, reason: 'the fog is gone' });
  expect(await over(retryDeadLetters.id)).toEqual({ state: 'DONE', doneCount: 7, totalCount: 7 });
  for (const id of ids) await healed(id, { place: 'fog', moves: 1 });
});
