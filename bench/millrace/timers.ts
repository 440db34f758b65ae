import { aggregate, command, module, saga, start } from 'millrace';
import { MongoClient } from 'mongodb';
import { z } from 'zod';
import { environment } from '../lib/append-contender.ts';
import { Latencies } from '../lib/closed-loop.ts';
import { serve } from '../lib/serve.ts';
import { settings } from './bank.ts';

/** Clocks that ring: each Set is a timer of a saga, whose command is the event Rang. Everything in one process. */
const clock = aggregate({
  name: 'clock',
  events: { Set: z.object({ afterMs: z.int() }), Rang: z.object({ dueAtMs: z.int(), lateMs: z.int() }) },
  commands: { Set: z.object({ afterMs: z.int() }), Ring: z.object({ dueAtMs: z.int(), lateMs: z.int() }) },
  initial: () => null,
  evolve: { Set: () => null, Rang: () => null },
  decide: { Set: (_state, data) => ({ type: 'Set', data }), Ring: (_state, data) => ({ type: 'Rang', data }) },
});
const alarm = saga({
  name: 'alarm',
  from: [clock],
  startFrom: 'start',
  initial: () => null,
  on: { Set: (_state, { data }) => ({ timers: { ring: { afterMs: data.afterMs } } }) },
  onTimer: {
    ring: (_state, { dueAt, lateMs }, { id }) => ({
      send: [command(clock, id, { type: 'Ring', data: { dueAtMs: dueAt.getTime(), lateMs: Math.round(lateMs) } })],
      end: true,
    }),
  },
});

const client = await new MongoClient(environment('MONGODB_URL')).connect();
const database = client.db(environment('MONGODB_DATABASE'));
const events = database.collection<{ type: string; at: Date; data: { dueAtMs: number; lateMs: number } }>('events');
const withSaga = environment('SAGA') === 'yes';
const parts = withSaga ? [clock, alarm] : [clock];
const app = await start({ modules: [module({ name: 'clocks', parts })], role: 'all', settings: settings() });

const PENDING_FROM_MS = 3_600_000;
const SET_AFTER_MS = 2_000;
const TICK_MS = 20;
const RING_MAX_MS = 60_000;
let setCount = 0;

/** What a timer of an instance looks like in the database; these are not due while the benchmark lasts. */
const pending = (i: number, nowMs: number) => ({
  _id: `main/saga/alarm/1/pending${i}/ring` as never,
  ...{
    logId: 'main',
    kind: 'saga',
    consumer: 'alarm',
    generation: 1,
    partition: i % 16,
    key: `pending${i}`,
    name: 'ring',
  },
  ...{ dueAt: new Date(nowMs + PENDING_FROM_MS + i * 36), setAt: new Date(nowMs), correlationId: null },
});

serve(
  {
    async pend(count: number): Promise<void> {
      const nowMs = Date.now();
      for (let i = 0; i < count; i += 5_000) {
        const some = Array.from({ length: Math.min(5_000, count - i) }, (_, k) => pending(i + k, nowMs));
        await database.collection('timers').insertMany(some, { ordered: false });
      }
    },
    /** Sets timers evenly and waits until each has rung. Lateness by the saga, and to the event that its command caused. */
    async ring({ perSecond, durationMs }: { perSecond: number; durationMs: number }) {
      const count = Math.round((perSecond * durationMs) / 1_000);
      const before = await events.countDocuments({ type: 'Rang' });
      const startMs = performance.now();
      const sent: Promise<unknown>[] = [];
      while (sent.length < count) {
        const shouldBe = Math.min(count, Math.ceil(((performance.now() - startMs) / 1_000) * perSecond));
        while (sent.length < shouldBe) {
          const afterMs = SET_AFTER_MS + (setCount % 50);
          sent.push(app.send(clock, `c${setCount++}`, { type: 'Set', data: { afterMs } }));
        }
        await new Promise((resolve) => setTimeout(resolve, TICK_MS));
      }
      await Promise.all(sent);
      const until = performance.now() + RING_MAX_MS;
      for (let rung = 0; rung < count; rung = (await events.countDocuments({ type: 'Rang' })) - before) {
        if (performance.now() > until) throw new Error(`${rung} of ${count} timers have rung`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      const fires = new Latencies();
      const done = new Latencies();
      for await (const { at, data } of events.find({ type: 'Rang' }).sort({ _id: 1 }).skip(before)) {
        fires.record(data.lateMs);
        done.record(at.getTime() - data.dueAtMs);
      }
      const figures = (latencies: Latencies) => ({
        value: count / (durationMs / 1_000),
        p50Ms: latencies.percentileMs(50),
        p99Ms: latencies.percentileMs(99),
      });
      return { fires: figures(fires), done: figures(done) };
    },
  },
  async () => {
    await app.stop();
    await client.close();
  },
);
