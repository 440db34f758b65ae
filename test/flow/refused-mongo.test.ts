import { mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MongoClient } from 'mongodb';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import app from '../../examples/bank/app.ts';
import { buildModel } from '../../src/define/model.ts';
import { findMongod } from '../../src/services/index.ts';
import { choosePort, launch, type ServerProcess } from '../../src/services/server-process.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import { createDeliveryStore } from '../../src/store/delivery-store.ts';
import { openStore } from '../../src/store/open-store.ts';
import { privateMongo } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

const DATABASE = 'refused';
const started: ServerProcess[] = [];
afterAll(() => Promise.all(started.map((server) => server.kill())));

/** mongod as somebody starts it by hand; gives its `host:port`. */
async function plainMongod(...args: readonly string[]): Promise<string> {
  const folder = await mkdtemp(join(inject('dataRoot'), 'refused-'));
  const noteFile = join(folder, 'note.json');
  const port = await choosePort(noteFile);
  const { path: binary } = await findMongod();
  const line = [
    '--dbpath',
    folder,
    '--port',
    String(port),
    '--bind_ip',
    '127.0.0.1',
    '--wiredTigerCacheSizeGB',
    '0.25',
  ];
  const server = await launch({
    name: 'MongoDB',
    binary,
    args: [...line, '--nounixsocket', ...args],
    port,
    logFile: join(folder, 'log'),
    noteFile,
    stopGraceMs: 1_000,
  });
  started.push(server);
  // The driver waits until it answers.
  const client = new MongoClient(`mongodb://127.0.0.1:${port}/?directConnection=true&serverSelectionTimeoutMS=20000`);
  await client.db('admin').command({ ping: 1 });
  await client.close();
  return `127.0.0.1:${port}`;
}

/** A replica set that asks for passwords, and the address with which a user comes who has a role on one database. */
async function withUser(role: 'read' | 'readWrite'): Promise<{ readonly host: string; readonly url: string }> {
  const keyFile = join(await mkdtemp(join(inject('dataRoot'), 'key-')), 'key');
  await writeFile(keyFile, 'onlyForTests', { mode: 0o600 });
  const host = await plainMongod('--replSet', 'rs0', '--keyFile', keyFile);
  const admin = new MongoClient(`mongodb://${host}/?directConnection=true`);
  await admin.db('admin').command({ replSetInitiate: { _id: 'rs0', members: [{ _id: 0, host }] } });
  await until('the primary', async () =>
    (await admin.db('admin').command({ hello: 1 })).isWritablePrimary ? true : undefined,
  );
  // The first user may be made by a stranger on this machine.
  await admin.db('admin').command({ createUser: 'root', pwd: 'secret', roles: ['root'] });
  await admin.close();
  const root = new MongoClient(`mongodb://root:secret@${host}/?directConnection=true`);
  await root.db('admin').command({ createUser: 'somebody', pwd: 'secret', roles: [{ role, db: DATABASE }] });
  await root.close();
  return { host, url: `mongodb://somebody:secret@${host}/?replicaSet=rs0&authSource=admin` };
}

const refusal = (url: string) =>
  connect({ url, database: DATABASE, appName: 'test' }).then(
    () => undefined,
    (error: unknown) => error,
  );
describe('a MongoDB that cannot serve is refused with cause and cure', () => {
  let alone: string;
  beforeAll(async () => {
    alone = await plainMongod();
  });

  test.each(['', 'replicaSet=rs0', 'directConnection=true'])('a standalone server, by "?%s"', async (parameters) => {
    expect(await refusal(`mongodb://${alone}/?${parameters}`)).toMatchObject({
      code: 'MONGODB_NOT_REPLICA_SET',
      message: expect.stringMatching(/standalone.*--replSet rs0 and run rs\.initiate\(\)/),
    });
  });
  test('a replica set that was never initiated', async () => {
    const ghost = await plainMongod('--replSet', 'rs0');
    expect(await refusal(`mongodb://${ghost}/?replicaSet=rs0`)).toMatchObject({
      code: 'MONGODB_NOT_REPLICA_SET',
      message: expect.stringMatching(/never initiated\. Run rs\.initiate\(\)/),
    });
  });
  test('a user who may read but not write', async () => {
    const { host, url } = await withUser('read');
    const options = { database: DATABASE, appName: 'test', logId: 'main', model: buildModel(app.modules) };
    const refused = await openStore({ ...options, url }).catch((error: unknown) => error);
    expect(refused).toMatchObject({
      code: 'MONGODB_FORBIDDEN',
      message: expect.stringMatching(new RegExp(`${host}/ refuses this user: not authorized .*Give it readWrite`)),
    });
    expect(String(refused)).not.toMatch(/lsid|secret/);
  });
  test('a replica set of another name, and a stranger to it', async () => {
    const { port } = await privateMongo();
    expect(await refusal(`mongodb://127.0.0.1:${port}/?replicaSet=other`)).toMatchObject({
      code: 'MONGODB_UNREACHABLE',
      message: expect.stringContaining('Set replicaSet=rs0 in MONGODB_URL'),
    });
    const stranger = await refusal(`mongodb://ada:secret@127.0.0.1:${port}/?replicaSet=rs0`);
    expect(stranger).toMatchObject({ code: 'MONGODB_FORBIDDEN', message: expect.stringContaining('authSource') });
    expect(String(stranger)).not.toContain('secret');
  });
});

test('`readWrite` on its database is all that its user needs, also to free what a killed process locked', async () => {
  const { url } = await withUser('readWrite');
  const options = { url, database: DATABASE, appName: 'test' };
  await (await openStore({ ...options, logId: 'main', model: buildModel(app.modules) })).close();
  const [killed, other] = await Promise.all([connect(options), connect(options)]);
  const instancesOf = ({ client, db }: Connection) => createDeliveryStore(client, db, 'main').instances;
  const things = ({ db }: Connection) => db.collection<{ _id: string; of: string }>('things');
  await things(other).insertOne({ _id: 'one', of: 'nobody' });

  const session = killed.client.startSession();
  session.startTransaction();
  await things(killed).updateOne({ _id: 'one' }, { $set: { of: 'killed' } }, { session });
  await instancesOf(killed).heartbeat({ id: 'killed', host: 'here', pid: 1, role: 'worker' }, [session.id?.id]);
  const write = (maxTimeMS: number) =>
    things(other).updateOne({ _id: 'one' }, { $set: { of: 'other' } }, { maxTimeMS });
  await expect(write(1_000)).rejects.toThrow('time limit');

  const [instance] = await instancesOf(other).list();
  if (instance === undefined) throw new Error('the killed process is not registered');
  expect(await instancesOf(other).bury(instance)).toBe(true);
  // MongoDB by itself ends the transaction after a minute.
  expect((await write(20_000)).modifiedCount).toBe(1);
  await Promise.all([killed.client.close(), other.client.close()]);
});
