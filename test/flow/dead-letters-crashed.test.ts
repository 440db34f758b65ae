import { afterAll, describe, expect, it } from 'vitest';
import { deadLettersOf } from '../setup/dead-letters.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';

/** Counting this kills the process. */
const DEADLY = 999;
/** Two deaths that nobody was prepared for, and three of an event that was marked. */
const DEATHS = 5;

const running = new Set<SourceProcess>();
afterAll(() => {
  for (const { child } of running) child.kill('SIGKILL');
});

/** A worker process that is started again whenever it dies, as a supervisor would. */
function supervised(fixture: DeliveryFixture): { readonly deaths: () => number; stop(): Promise<void> } {
  const { mongoUrl, redisUrl, database, prefix } = fixture.servers;
  let deaths = 0;
  let stopped = false;
  let current: SourceProcess | undefined;
  const start = (): void => {
    const started = startSource('test/setup/processes/run-worker.ts', [
      mongoUrl,
      redisUrl,
      database,
      prefix,
      `${DEADLY}`,
    ]);
    current = started;
    running.add(started);
    void started.exited.then(() => {
      running.delete(started);
      if (stopped) return;
      deaths++;
      if (deaths < 12) start();
    });
  };
  start();
  return {
    deaths: () => deaths,
    async stop() {
      stopped = true;
      current?.child.kill('SIGKILL');
      await current?.exited;
    },
  };
}

async function prepared(): Promise<DeliveryFixture> {
  const fixture = await deliveryFixture();
  const others = Array.from({ length: 60 }, (_, i) => fixture.count(`fine-${i % 20}`));
  await fixture.append([fixture.count('deadly', 1), ...others.slice(0, 30)]);
  await fixture.append([fixture.count('deadly', DEADLY), ...others.slice(30)]);
  await fixture.append([fixture.count('deadly', 2)]);
  return fixture;
}

async function othersFinish(fixture: DeliveryFixture): Promise<void> {
  await until('the other keys finish', async () => {
    const documents = await fixture.documents();
    const all = Array.from({ length: 20 }, (_, i) => documents.get(`fine-${i}`)?.count === 3);
    return all.every(Boolean) || undefined;
  });
}

describe('a handler that kills its process', () => {
  it('is found when one process is started again and again: its key is dead, the others finish', async () => {
    const fixture = await prepared();
    const dead = deadLettersOf(fixture);
    const worker = supervised(fixture);
    const record = await dead.until('it is found', 'deadly', () => true, 240_000);
    expect(record).toMatchObject({ state: 'DEAD', error: { code: 'CRASHED' }, input: 'event' });
    expect(worker.deaths()).toBe(DEATHS);
    await othersFinish(fixture);
    expect(await dead.letters.countDocuments()).toBe(1);
    expect((await fixture.documents()).get('deadly')).toMatchObject({ total: 1, count: 1 });
    await worker.stop();
    // A retry that kills again is found as well, also when nothing else is left to be handled.
    await dead.letters.updateOne(
      { _id: record._id },
      { $set: { state: 'RETRYING', attempts: 0, nextAttemptAt: new Date() } },
    );
    const again = supervised(fixture);
    await dead.until('it is found again', 'deadly', ({ state }) => state === 'DEAD', 240_000);
    await again.stop();
    const mended = await fixture.startWorker();
    await dead.release(mended, 'deadly');
    await dead.healed('deadly');
    expect((await fixture.documents()).get('deadly')).toMatchObject({ total: 1 + DEADLY + 2, count: 3 });
  }, 900_000);

  it('is found when several processes take it over from each other', async () => {
    const fixture = await prepared();
    const dead = deadLettersOf(fixture);
    const workers = [supervised(fixture), supervised(fixture)];
    const record = await dead.until('it is found', 'deadly', () => true, 240_000);
    expect(record).toMatchObject({ state: 'DEAD', error: { code: 'CRASHED' } });
    await othersFinish(fixture);
    expect(await dead.letters.countDocuments()).toBe(1);
    await Promise.all(workers.map((worker) => worker.stop()));
  }, 900_000);
});
