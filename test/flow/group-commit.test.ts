import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type AppendResult, GroupCommit } from '../../src/engine/commands/group-commit.ts';
import { newId } from '../../src/engine/concurrency/new-id.ts';
import { type CommitStore, type CommitWriter, createCommitStore, ensureCommits } from '../../src/store/commits.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import type { CommitDocument } from '../../src/store/documents.ts';
import { createRejectionStore, ensureRejections } from '../../src/store/rejections.ts';
import { privateMongo } from '../setup/servers.ts';

const DATABASE = 'group';
let connection: Connection;
let commits: CommitStore;
let group: GroupCommit;

beforeAll(async () => {
  const mongo = await privateMongo({ args: ['--setParameter', 'enableTestCommands=1'] });
  connection = await connect({ url: mongo.url, database: DATABASE, appName: 'test' });
  await ensureCommits(connection.db, new Set());
  await ensureRejections(connection.db);
  commits = createCommitStore(connection.client, connection.db);
  group = new GroupCommit(commits, createRejectionStore(connection.db));
});
afterEach(() => failInserts('off'));
afterAll(async () => {
  await group.close();
  await connection.client.close();
});

const failInserts = (mode: unknown, data: object = {}) =>
  connection.client.db('admin').command({
    configureFailPoint: 'failCommand',
    mode,
    data: { failCommands: ['insert'], namespace: `${DATABASE}.commits`, ...data },
  });

function commit(stream: string, version: number, more: Partial<CommitDocument> = {}, text = ''): CommitDocument {
  const correlationId = randomUUID();
  return {
    _id: newId(),
    stream,
    version,
    command: { id: randomUUID(), type: 'Test', data: {}, hash: '-' },
    events: [{ id: newId(), type: 'Tested', schemaVersion: 1, data: { text } }],
    meta: { correlationId, causationId: null, actor: null, tenant: 'default', traceparent: null, client: null },
    at: new Date(),
    ...more,
  };
}
const append = (document: CommitDocument, to = group, withinMs = 30_000): Promise<AppendResult> =>
  to.append({ commit: document, bytes: 500, mayRepeat: false, deadline: Date.now() + withinMs });
const kinds = (results: readonly { readonly kind: string }[]) => results.map(({ kind }) => kind);

describe('members of one insert succeed and fail alone', () => {
  it('tells which unique index was met', async () => {
    const writer = commits.writer();
    const first = commit('s', 1);
    const again = { ...first };
    const sameVersion = commit('s', 1);
    const sameCommand = commit('s', 2, { command: first.command });
    const results = await writer.insert([first, again, sameVersion, sameCommand, commit('s', 2)]);
    expect(results).toEqual([
      { kind: 'inserted' },
      { kind: 'taken', by: 'id' },
      { kind: 'taken', by: 'version' },
      { kind: 'taken', by: 'command' },
      { kind: 'inserted' },
    ]);
    await writer.close();
  });

  it('one that is too large, or no BSON, does not take the others with it', async () => {
    const writer = commits.writer();
    const huge = commit('huge', 1, {}, 'x'.repeat(17_000_000));
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    const unstorable = commit('cyclic', 1, { meta: cyclic as unknown as CommitDocument['meta'] });
    const fine = Array.from({ length: 5 }, (_, i) => commit(`fine${i}`, 1));
    const results = await writer.insert([...fine.slice(0, 2), huge, ...fine.slice(2, 4), unstorable, ...fine.slice(4)]);
    expect(kinds(results)).toEqual(['inserted', 'inserted', 'failed', 'inserted', 'inserted', 'failed', 'inserted']);
    await writer.close();
  });

  it.each([
    ['a foreign version of BSON', { deep: [{ _bsontype: 'a' }] }],
    ['a name with NUL', { 'a\u0000': 1 }],
    ['nested 250 deep', JSON.parse(`${'{"a":'.repeat(250)}1${'}'.repeat(250)}`)],
  ])('one that cannot be stored (%s) is failed at once and delays none of the 50 beside it', async (_what, data) => {
    const poison = { id: randomUUID(), type: 'Test', data, hash: '-' };
    const fine = Array.from({ length: 50 }, () => append(commit(randomUUID(), 1)));
    const failed = append(commit(randomUUID(), 1, { command: poison }));
    expect(await failed).toMatchObject({ kind: 'failed', error: { code: 'COMMIT_TOO_LARGE' } });
    expect(kinds(await Promise.all(fine))).toEqual(fine.map(() => 'inserted'));
  });

  it('together too large for one command, each gets through', async () => {
    const writer = commits.writer();
    const large = Array.from({ length: 6 }, (_, i) => commit(`large${i}`, 1, {}, 'x'.repeat(4_000_000)));
    expect(kinds(await writer.insert(large))).toEqual(large.map(() => 'inserted'));
    await writer.close();
  });
});

describe('an append', () => {
  it('does not wait behind a write that hangs', async () => {
    let enter = (): void => undefined;
    let release = (): void => undefined;
    const entered = new Promise<void>((resolve) => {
      enter = resolve;
    });
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    /** Whatever has the stream "hung" among it hangs, until it is released. */
    const hanging = (): CommitWriter => {
      const writer = commits.writer();
      return {
        async insert(batch) {
          if (batch.some(({ stream }) => stream === 'hung')) {
            enter();
            await released;
          }
          return writer.insert(batch);
        },
        get operationTime() {
          return writer.operationTime;
        },
        close: () => writer.close(),
      };
    };
    const own = new GroupCommit({ ...commits, writer: hanging }, createRejectionStore(connection.db));
    const hung = append(commit('hung', 1), own);
    await entered;
    const others = await Promise.all(Array.from({ length: 5 }, (_, i) => append(commit(`other${i}`, 1), own)));
    expect(kinds(others)).toEqual(others.map(() => 'inserted'));
    release();
    expect(await hung).toEqual({ kind: 'inserted' });
    await own.close();
  });

  it('is tried again when the connection is lost', async () => {
    await failInserts({ times: 2 }, { closeConnection: true });
    expect(await append(commit('closed', 1))).toEqual({ kind: 'inserted' });
  });

  it('that was once unknown is never called failed', async () => {
    await failInserts('alwaysOn', { closeConnection: true });
    expect(await append(commit('unknown', 1), group, 400)).toMatchObject({ kind: 'unknown' });
  });
});
