import { type SagaTimersOptions, sagaTimers } from '../src/engine/sagas/saga-timers.ts';
import { type SchedulesOptions, scheduledCommands } from '../src/engine/timers/schedules.ts';
import { type DueSource, Timers } from '../src/engine/timers/timers.ts';
import { createBells } from '../src/queue/bells.ts';
import { queueOptions, type RunningRole, type WorkerDeps } from './deps.ts';

/** Who does what is due. */
export interface DueRoles {
  readonly onDue: SagaTimersOptions['onDue'];
  readonly queue: SchedulesOptions['queue'];
  /** More that is due at times: delayed commands. */
  readonly sources?: readonly DueSource[];
}

type TimerDeps = Pick<WorkerDeps, 'store' | 'model' | 'settings' | 'logger' | 'instanceId' | 'redis' | 'clock'>;

/** Fires timers of sagas, schedules and delayed commands at their time. */
export async function startTimers(
  deps: TimerDeps,
  roles: DueRoles,
): Promise<RunningRole & { readonly timers: Timers }> {
  const { store, model, settings, logger, instanceId, clock } = deps;
  await clock.sync();
  const sagas = model.consumers
    .filter(({ kind }) => kind === 'saga')
    .map(({ name, generation }) => ({ consumer: name, generation }));
  const timers = new Timers({
    sources: [
      sagaTimers({ store: store.timers, sagas, clock, logger, onDue: roles.onDue }),
      scheduledCommands({ store: store.timers, model, clock, logger, queue: roles.queue }),
      ...(roles.sources ?? []),
    ],
    clock,
    bells: createBells(deps.redis, queueOptions(deps)),
    leases: store.leases,
    logId: settings.logId,
    instanceId,
    logger,
  });
  timers.start();
  return { timers, stop: () => timers.stop() };
}
