import { aggregate, command, defineApp, module, saga, schedule } from 'millrace';
import { z } from 'zod';

/** Clocks that ring some time after they were set, and one that ticks every other second. */
export const clock = aggregate({
  name: 'clock',
  events: {
    Set: z.object({ afterMs: z.int() }),
    Rang: z.object({ dueAt: z.string(), lateMs: z.number() }),
    Ticked: z.object({ dueAt: z.string() }),
  },
  commands: {
    Set: z.object({ afterMs: z.int() }),
    Ring: z.object({ dueAt: z.string(), lateMs: z.number() }),
    Tick: z.object({ dueAt: z.string() }),
  },
  initial: () => null,
  evolve: { Set: () => null, Rang: () => null, Ticked: () => null },
  decide: {
    Set: (_state, data) => ({ type: 'Set', data }),
    Ring: (_state, data) => ({ type: 'Rang', data }),
    Tick: (_state, data) => ({ type: 'Ticked', data }),
  },
});
const alarm = saga({
  name: 'alarm',
  from: [clock],
  startFrom: 'start',
  initial: () => null,
  on: { Set: (_state, { data: { afterMs } }) => ({ timers: { ring: { afterMs } } }) },
  onTimer: {
    ring: (_state, { dueAt, lateMs }, { id }) => ({
      send: [command(clock, id, { type: 'Ring', data: { dueAt: dueAt.toISOString(), lateMs } })],
    }),
  },
});
const tick = schedule({
  name: 'tick',
  cron: '*/2 * * * * *',
  command: (dueAt) => command(clock, 'tower', { type: 'Tick', data: { dueAt: dueAt.toISOString() } }),
});

export default defineApp({ modules: [module({ name: 'clocks', parts: [clock, alarm, tick] })] });
