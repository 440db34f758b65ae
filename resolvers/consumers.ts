import type { ConsumerFailure, ConsumerState } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { exposeConsumerControls } from './consumer-controls.ts';
import { exposeRebuilds } from './rebuilds.ts';
import { claim, once } from './registry.ts';

const platform = 'a type of the platform';

/** How far the consumers are (`Query.consumers`), and what operators do with them. */
export function exposeConsumers(builder: MillraceBuilder): true {
  const consumer = once(builder, consumerType);
  claim(builder, 'Query.consumers', 'a field of the platform');
  builder.queryField('consumers', (t) =>
    t.field({
      type: [consumer],
      nullable: false,
      description: 'How far each consumer has come in the log, and what fails.',
      args: {
        unused: t.arg.boolean({ description: 'Also earlier generations, which these modules have no more.' }),
      },
      resolve: async (_root, { unused }, { runtime }) => [...(await runtime.consumers({ unused: unused === true }))],
    }),
  );
  once(builder, exposeConsumerControls);
  once(builder, exposeRebuilds);
  return true;
}

export function consumerKind(builder: MillraceBuilder) {
  claim(builder, 'type ConsumerKind', platform);
  return builder.enumType('ConsumerKind', {
    values: {
      PROJECTOR: { value: 'projector', description: 'Keeps a view.' },
      SAGA: { value: 'saga', description: 'Sends commands.' },
      OBSERVER: { value: 'observer', description: 'Acts on the outside world.' },
    } as const,
  });
}

function projectorMode(builder: MillraceBuilder) {
  claim(builder, 'type ProjectorMode', platform);
  return builder.enumType('ProjectorMode', {
    values: {
      ASYNC: { value: 'async', description: 'Commands are answered before the view shows them.' },
      INLINE: { value: 'inline', description: 'The answer of a command waits until the view shows it, within limits.' },
    } as const,
  });
}

function consumerState(builder: MillraceBuilder) {
  claim(builder, 'type ConsumerState', platform);
  return builder.enumType('ConsumerState', {
    values: {
      RUNNING: {},
      PAUSED: { description: 'By an operator.' },
      RESETTING: { description: 'A reset was begun and is not done: repeat it before it can be resumed.' },
      UNUSED: { description: 'An earlier generation that these modules have no more.' },
    } as const,
  });
}

export function consumerType(builder: MillraceBuilder) {
  for (const name of ['Consumer', 'ConsumerPause']) claim(builder, `type ${name}`, platform);
  const failure = once(builder, failureType);
  const kind = once(builder, consumerKind);
  const state = once(builder, consumerState);
  const mode = once(builder, projectorMode);
  const pause = builder.objectRef<NonNullable<ConsumerState['paused']>>('ConsumerPause').implement({
    fields: (t) => ({
      since: t.expose('since', { type: 'DateTime', nullable: false }),
      reason: t.exposeString('reason', { nullable: false }),
      actor: t.exposeString('actor', { nullable: true }),
    }),
  });
  const breaker = once(builder, consumerBreakerType);
  return builder.objectRef<ConsumerState>('Consumer').implement({
    description: 'A projector, saga or observer as delivery sees it.',
    fields: (t) => ({
      name: t.exposeString('name', { nullable: false }),
      kind: t.expose('kind', { type: kind, nullable: false }),
      mode: t.expose('mode', {
        type: mode,
        nullable: true,
        description: 'Of projectors that these modules have. Live ones are no consumers.',
      }),
      version: t.exposeInt('version', { nullable: false }),
      generation: t.exposeInt('generation', { nullable: false }),
      state: t.expose('state', { type: state, nullable: false }),
      paused: t.expose('paused', { type: pause, nullable: true }),
      position: t.string({
        nullable: false,
        description: 'Everything up to here is handled, or waits behind a dead letter.',
        resolve: ({ position }) => String(position),
      }),
      logEnd: t.string({
        nullable: false,
        description: 'Newest position in the log.',
        resolve: ({ logEnd }) => String(logEnd),
      }),
      lag: t.expose('lag', {
        type: 'SafeInt',
        nullable: false,
        description:
          'Events of the log after `position`; shares of the log without events of its own follow within seconds.',
      }),
      lagSeconds: t.float({
        nullable: false,
        description: 'How long ago the oldest of them happened; 0 when it is caught up.',
        resolve: ({ lagMs }) => lagMs / 1_000,
      }),
      caughtUp: t.exposeBoolean('caughtUp', { nullable: false }),
      retryingCount: t.expose('retryingCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Keys whose event failed and is tried again.',
      }),
      deadCount: t.expose('deadCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Keys whose event failed for good: an operator or a deployment must act.',
      }),
      parkedCount: t.expose('parkedCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Events that wait behind those.',
      }),
      breaker: t.expose('breaker', {
        type: breaker,
        nullable: true,
        description: 'Observers: it stopped its tries after failures in a row, in one process at least.',
      }),
      failingSince: t.expose('failingSince', {
        type: 'DateTime',
        nullable: true,
        description: 'Since when something fails without a break; null: nothing does.',
      }),
      failures: t.field({
        type: [failure],
        nullable: false,
        description: 'Shares of the log that stand still: not even the key of their next event can be told.',
        resolve: ({ failures }) => [...failures],
      }),
    }),
  });
}

function consumerBreakerType(builder: MillraceBuilder) {
  for (const name of ['ConsumerBreaker', 'ConsumerBreakerState']) claim(builder, `type ${name}`, platform);
  const state = builder.enumType('ConsumerBreakerState', {
    values: { OPEN: {}, HALF_OPEN: { description: 'One try is under way to see whether it works again.' } } as const,
  });
  return builder.objectRef<NonNullable<ConsumerState['breaker']>>('ConsumerBreaker').implement({
    fields: (t) => ({
      state: t.expose('state', { type: state, nullable: false }),
      since: t.expose('since', { type: 'DateTime', nullable: false }),
      until: t.expose('until', {
        type: 'DateTime',
        nullable: false,
        description: 'It tries again at the latest then.',
      }),
      failureCount: t.exposeInt('failureCount', { nullable: false }),
      code: t.exposeString('code', { nullable: false }),
      message: t.exposeString('message', { nullable: false }),
    }),
  });
}

function failureType(builder: MillraceBuilder) {
  claim(builder, 'type ConsumerFailure', platform);
  return builder.objectRef<ConsumerFailure>('ConsumerFailure').implement({
    description: 'An event that cannot be given to its key: the partition stands still before it, and tries again.',
    fields: (t) => ({
      partition: t.exposeInt('partition', { nullable: false }),
      position: t.string({ nullable: false, resolve: ({ position }) => String(position) }),
      key: t.exposeID('key', { nullable: false }),
      eventType: t.exposeString('eventType', { nullable: false }),
      code: t.exposeString('code', { nullable: false }),
      message: t.exposeString('message', { nullable: false }),
      attempts: t.exposeInt('attempts', { nullable: false }),
      since: t.expose('since', { type: 'DateTime', nullable: false }),
    }),
  });
}
