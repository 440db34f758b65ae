import type { ConsumerFailure, ConsumerState } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { claim, once } from './registry.ts';

/** How far the consumers are (`Query.consumers`). */
export function exposeConsumers(builder: MillraceBuilder): true {
  const consumer = once(builder, consumerType);
  claim(builder, 'Query.consumers', 'a field of the platform');
  builder.queryField('consumers', (t) =>
    t.field({
      type: [consumer],
      nullable: false,
      description: 'How far each consumer has come in the log, and where it stands still.',
      resolve: async (_root, _args, { runtime }) => [...(await runtime.consumers())],
    }),
  );
  return true;
}

function consumerType(builder: MillraceBuilder) {
  claim(builder, 'type Consumer', 'a type of the platform');
  const failure = once(builder, failureType);
  return builder.objectRef<ConsumerState>('Consumer').implement({
    description: 'A projector as delivery sees it.',
    fields: (t) => ({
      name: t.exposeString('name', { nullable: false }),
      version: t.exposeInt('version', { nullable: false }),
      generation: t.exposeInt('generation', { nullable: false }),
      position: t.string({
        nullable: false,
        description: 'Everything up to here is handled.',
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
      caughtUp: t.exposeBoolean('caughtUp', { nullable: false }),
      failures: t.field({ type: [failure], nullable: false, resolve: ({ failures }) => [...failures] }),
    }),
  });
}

function failureType(builder: MillraceBuilder) {
  claim(builder, 'type ConsumerFailure', 'a type of the platform');
  return builder.objectRef<ConsumerFailure>('ConsumerFailure').implement({
    description: 'An event that a handler fails at: its partition stands still before it, and tries again.',
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
