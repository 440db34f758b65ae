import { afterAll, expect, it } from 'vitest';
import type { DeadLetterDocument } from '../../src/store/documents.ts';
import { deliveryFixture } from '../setup/delivery.ts';
import { startReceiver } from '../setup/receiver.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';

const DEADLY = 999;
const running = new Set<SourceProcess>();
afterAll(() => {
  for (const { child } of running) child.kill('SIGKILL');
});

it("an observer's handler that kills its process is found: its key is dead, the others are delivered", async () => {
  const fixture = await deliveryFixture();
  const receiver = await startReceiver();
  const { mongoUrl, redisUrl, database, prefix } = fixture.servers;
  let deaths = 0;
  let stopped = false;
  const start = (): void => {
    const args = [mongoUrl, redisUrl, database, prefix, receiver.url, `${DEADLY}`];
    const started = startSource('test/setup/processes/run-webhook.ts', args);
    running.add(started);
    void started.exited.then(() => {
      running.delete(started);
      if (!stopped && ++deaths < 12) start();
    });
  };
  await fixture.append([fixture.count('deadly', DEADLY)]);
  await fixture.append(Array.from({ length: 40 }, (_, index) => fixture.count(`fine-${index % 20}`)));
  start();
  const letters = fixture.connection.db.collection<DeadLetterDocument>('dead_letters');
  const dead = await until('it is found', async () => (await letters.findOne({ key: 'deadly' })) ?? undefined, {
    timeoutMs: 240_000,
    seen: () => deaths,
  });
  expect(dead).toMatchObject({ state: 'DEAD', error: { code: 'CRASHED' }, consumerKind: 'observer' });
  const subjects = (): Set<unknown> => new Set(receiver.received.map(({ body }) => JSON.parse(body).subject));
  await until('the others', () => (subjects().size === 20 ? true : undefined), { seen: () => subjects().size });
  expect(await letters.countDocuments()).toBe(1);
  stopped = true;
}, 300_000);
