import type { PendingTimer, ScheduleState } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { connectionOf, pageInput } from './connections.ts';
import { claim, once } from './registry.ts';
import { timeOf } from './times.ts';

/** What is due at a time (`Query.timers`), and the schedules (`Query.schedules`). */
export function exposeTimers(builder: MillraceBuilder): true {
  const timer = once(builder, timerType);
  const connection = connectionOf(builder, 'Timer', timer, 'a type of the platform');
  const kind = once(builder, timerKind);
  const schedule = once(builder, scheduleType);
  claim(builder, 'Query.timers', 'a field of the platform');
  claim(builder, 'Query.schedules', 'a field of the platform');
  builder.queryFields((t) => ({
    timers: t.field({
      type: connection,
      nullable: false,
      description:
        'What is due at a time and has not fired: the one that is due first comes first. Without timers of versions of sagas that are not deployed any more.',
      args: {
        kind: t.arg({ type: kind }),
        consumer: t.arg.string({ description: 'Name of the saga; of the aggregate or service of a delayed command.' }),
        dueBefore: t.arg({ type: 'DateTime' }),
        first: t.arg.int({ description: 'Page forward: so many, at most 1,000; default 50.' }),
        after: t.arg({ type: 'Cursor' }),
      },
      resolve: (_root, { kind: ofKind, consumer, dueBefore, first, after }, context) =>
        context.runtime.timers(
          { kind: ofKind, consumer, dueBefore: timeOf('dueBefore', dueBefore) },
          pageInput({ first, after }, context),
        ),
    }),
    schedules: t.field({
      type: [schedule],
      nullable: { list: false, items: false },
      description: 'Commands that are sent at times, with the last time and the next.',
      resolve: async (_root, _args, { runtime }) => [...(await runtime.schedules())],
    }),
  }));
  return true;
}

function timerKind(builder: MillraceBuilder) {
  claim(builder, 'type TimerKind', 'a type of the platform');
  return builder.enumType('TimerKind', {
    description: 'Whose a timer is.',
    values: {
      SAGA: { description: 'Set by an instance of a saga.' },
      SCHEDULE: { description: 'The next time of a schedule.' },
      COMMAND: { description: 'A command that waits for its `sendAt`.' },
    } as const,
  });
}

function timerType(builder: MillraceBuilder) {
  claim(builder, 'type Timer', 'a type of the platform');
  const kind = once(builder, timerKind);
  return builder.objectRef<PendingTimer>('Timer').implement({
    description: 'Something that is due at a time.',
    fields: (t) => ({
      id: t.exposeID('id', { nullable: false }),
      kind: t.field({ type: kind, nullable: false, resolve: (timer) => timer.kind }),
      name: t.exposeString('name', {
        nullable: false,
        description: 'Of the timer or the schedule; type of the command.',
      }),
      consumer: t.exposeString('consumer', {
        nullable: true,
        description: 'The saga; aggregate or service of a command; null for schedules.',
      }),
      key: t.exposeID('key', {
        nullable: true,
        description: 'The instance of the saga; id that a command is sent to; null for schedules.',
      }),
      dueAt: t.expose('dueAt', { type: 'DateTime', nullable: false }),
      setAt: t.expose('setAt', { type: 'DateTime', nullable: false }),
      lateMs: t.expose('lateMs', {
        type: 'SafeInt',
        nullable: false,
        description: 'For how long it has been due; 0 before its time.',
      }),
      correlationId: t.exposeID('correlationId', { nullable: true }),
    }),
  });
}

function scheduleType(builder: MillraceBuilder) {
  claim(builder, 'type Schedule', 'a type of the platform');
  const last = once(builder, scheduledRunType);
  const failure = once(builder, scheduleFailureType);
  return builder.objectRef<ScheduleState>('Schedule').implement({
    description: 'A command that is sent at times of a cron expression.',
    fields: (t) => ({
      name: t.exposeString('name', { nullable: false }),
      description: t.exposeString('description', { nullable: true }),
      cron: t.exposeString('cron', { nullable: false }),
      timeZone: t.exposeString('timeZone', { nullable: false }),
      nextAt: t.expose('nextAt', { type: 'DateTime', nullable: true, description: 'Null until a worker has seen it.' }),
      lateMs: t.expose('lateMs', {
        type: 'SafeInt',
        nullable: false,
        description: 'For how long `nextAt` has been due; 0 before its time.',
      }),
      last: t.field({ type: last, nullable: true, resolve: (schedule) => schedule.last }),
      failure: t.field({
        type: failure,
        nullable: true,
        description: 'Why the command of `nextAt` cannot be queued; it stays due.',
        resolve: (schedule) => schedule.failure,
      }),
    }),
  });
}

function scheduledRunType(builder: MillraceBuilder) {
  claim(builder, 'type ScheduledRun', 'a type of the platform');
  return builder.objectRef<NonNullable<ScheduleState['last']>>('ScheduledRun').implement({
    description: 'A time of a schedule whose command was queued.',
    fields: (t) => ({
      dueAt: t.expose('dueAt', { type: 'DateTime', nullable: false }),
      queuedAt: t.expose('queuedAt', { type: 'DateTime', nullable: false }),
      lateMs: t.expose('lateMs', { type: 'SafeInt', nullable: false, description: 'How late it was queued.' }),
      commandId: t.exposeID('commandId', { nullable: false }),
    }),
  });
}

function scheduleFailureType(builder: MillraceBuilder) {
  claim(builder, 'type ScheduleFailure', 'a type of the platform');
  return builder.objectRef<NonNullable<ScheduleState['failure']>>('ScheduleFailure').implement({
    fields: (t) => ({
      code: t.exposeString('code', { nullable: false }),
      message: t.exposeString('message', { nullable: false }),
      since: t.expose('since', { type: 'DateTime', nullable: false }),
    }),
  });
}
