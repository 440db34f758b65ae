import type { SagaRecord, SagaSent, SagaTimelineStep } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { stateType } from './command-status.ts';
import { connectionOf, pageArguments, pageInput } from './connections.ts';
import { deadLetterErrorType, deadLetterType } from './dead-letter-types.ts';
import { claim, once } from './registry.ts';

const platform = 'a type of the platform';
const field = 'a field of the platform';

/** Instances of sagas: `Query.sagas` and `Query.saga`, each with its timeline. */
export function exposeSagas(builder: MillraceBuilder): true {
  const instance = once(builder, sagaType);
  const status = once(builder, sagaStatusType);
  const connection = connectionOf(builder, 'Saga', instance, platform);
  for (const name of ['sagas', 'saga']) claim(builder, `Query.${name}`, field);
  builder.queryFields((t) => ({
    sagas: t.field({
      type: connection,
      nullable: false,
      description: 'Instances of a saga, the newest first.',
      args: {
        saga: t.arg.string({ required: true, description: 'Name of the saga.' }),
        status: t.arg({ type: status }),
        correlationId: t.arg.id({ description: 'Of the input that started it.' }),
        ...pageArguments(builder),
      },
      resolve: (_root, { saga, status: ofStatus, correlationId, ...page }, context) =>
        context.runtime.sagas({ saga, status: ofStatus, correlationId }, pageInput(page, context)),
    }),
    saga: t.field({
      type: instance,
      nullable: true,
      description: 'One instance, by its id; of a saga with several correlation keys, by any of them.',
      args: { name: t.arg.string({ required: true }), id: t.arg.id({ required: true }) },
      resolve: async (_root, { name, id }, { runtime }) => (await runtime.saga(name, id)) ?? null,
    }),
  }));
  return true;
}

function sagaStatusType(builder: MillraceBuilder) {
  claim(builder, 'type SagaStatus', platform);
  return builder.enumType('SagaStatus', {
    values: { ACTIVE: { description: 'Takes inputs.' }, ENDED: { description: 'Is over: ignores them.' } } as const,
  });
}

function sagaType(builder: MillraceBuilder) {
  claim(builder, 'type Saga', platform);
  const status = once(builder, sagaStatusType);
  const step = once(builder, sagaStepType);
  const timer = once(builder, sagaTimerType);
  const letter = once(builder, deadLetterType);
  return builder.objectRef<SagaRecord>('Saga').implement({
    description: 'An instance of a saga.',
    fields: (t) => ({
      saga: t.exposeString('saga', { nullable: false, description: 'Name of the saga.' }),
      generation: t.exposeInt('generation', { nullable: false }),
      id: t.exposeID('id', { nullable: false }),
      status: t.field({ type: status, nullable: false, resolve: (saga) => saga.status }),
      state: t.expose('state', { type: 'JSON', nullable: true }),
      keys: t.field({
        type: ['ID'],
        nullable: { list: false, items: false },
        description: 'Correlation keys that lead here, the id first.',
        resolve: ({ keys }) => [...keys],
      }),
      startedAt: t.expose('startedAt', { type: 'DateTime', nullable: false }),
      updatedAt: t.expose('updatedAt', { type: 'DateTime', nullable: false }),
      endedAt: t.expose('endedAt', { type: 'DateTime', nullable: true }),
      correlationId: t.exposeID('correlationId', { nullable: true, description: 'Of the input that started it.' }),
      stepCount: t.exposeInt('stepCount', { nullable: false, description: 'The timeline holds the last 200.' }),
      timeline: t.field({
        type: [step],
        nullable: { list: false, items: false },
        description: 'Inputs and what came of them, oldest first. The last one is the one that failed, if one did.',
        resolve: async (saga, _args, { runtime }) => [...(await runtime.sagaTimeline(saga))],
      }),
      timers: t.field({
        type: [timer],
        nullable: { list: false, items: false },
        description: 'Timers that have not fired.',
        resolve: ({ timers }) => [...timers],
      }),
      deadLetter: t.field({
        type: letter,
        nullable: true,
        description: 'Why it stands still; null when it does not.',
        resolve: async (saga, _args, { runtime }) => (await runtime.sagaDeadLetter(saga)) ?? null,
      }),
    }),
  });
}

function sagaTimerType(builder: MillraceBuilder) {
  claim(builder, 'type SagaTimer', platform);
  return builder.objectRef<SagaRecord['timers'][number]>('SagaTimer').implement({
    description: 'A timer of an instance.',
    fields: (t) => ({
      name: t.exposeString('name', { nullable: false }),
      dueAt: t.expose('dueAt', { type: 'DateTime', nullable: false }),
      setAt: t.expose('setAt', { type: 'DateTime', nullable: false }),
    }),
  });
}

function sagaStepType(builder: MillraceBuilder) {
  claim(builder, 'type SagaStep', platform);
  claim(builder, 'type SagaStepTimer', platform);
  const sent = once(builder, sagaSentType);
  const error = once(builder, deadLetterErrorType);
  const refusal = once(builder, sagaRefusalType);
  const kind = once(builder, sagaInputKindType);
  const timer = builder.objectRef<SagaTimelineStep['timers'][number]>('SagaStepTimer').implement({
    fields: (t) => ({
      name: t.exposeString('name', { nullable: false }),
      dueAt: t.expose('dueAt', { type: 'DateTime', nullable: true, description: 'Null: it was cancelled.' }),
    }),
  });
  return builder.objectRef<SagaTimelineStep>('SagaStep').implement({
    description: 'An input of an instance and what came of it.',
    fields: (t) => ({
      number: t.exposeInt('number', { nullable: false, description: 'Counts the steps of the instance from 1.' }),
      kind: t.field({ type: kind, nullable: false, resolve: (step) => step.kind }),
      name: t.exposeString('name', {
        nullable: false,
        description: 'Event type, timer name or type of the refused command.',
      }),
      at: t.expose('at', { type: 'DateTime', nullable: false, description: 'Time of the input.' }),
      handledAt: t.expose('handledAt', { type: 'DateTime', nullable: false }),
      position: t.string({
        nullable: true,
        description: 'Of the event; null for other inputs.',
        resolve: ({ position }) => (position === null ? null : String(position)),
      }),
      causeId: t.exposeID('causeId', {
        nullable: false,
        description: 'Id of the event or of the refused command; of a timer, of what set it.',
      }),
      lateMs: t.expose('lateMs', {
        type: 'SafeInt',
        nullable: true,
        description: 'Timers: how much later than due it fired.',
      }),
      refusal: t.field({ type: refusal, nullable: true, resolve: (step) => step.refusal }),
      sent: t.field({
        type: [sent],
        nullable: { list: false, items: false },
        description: 'Commands that it sent; the first 20.',
        resolve: (step) => [...step.sent],
      }),
      sentCount: t.exposeInt('sentCount', { nullable: false }),
      timers: t.field({
        type: [timer],
        nullable: { list: false, items: false },
        description: 'Timers that it set or cancelled; the first 20.',
        resolve: (step) => [...step.timers],
      }),
      ended: t.exposeBoolean('ended', { nullable: false, description: 'The instance ended with it.' }),
      error: t.field({
        type: error,
        nullable: true,
        description: 'Why this input failed: it waits as a dead letter.',
        resolve: (step) => step.error,
      }),
    }),
  });
}

function sagaInputKindType(builder: MillraceBuilder) {
  claim(builder, 'type SagaInputKind', platform);
  return builder.enumType('SagaInputKind', {
    values: {
      EVENT: { value: 'event' },
      TIMER: { value: 'timer', description: 'One of its timers fired.' },
      REFUSAL: { value: 'refusal', description: 'One of its commands was refused.' },
    } as const,
  });
}

function sagaRefusalType(builder: MillraceBuilder) {
  claim(builder, 'type SagaRefusal', platform);
  return builder.objectRef<NonNullable<SagaSent['refusal']>>('SagaRefusal').implement({
    fields: (t) => ({
      code: t.exposeString('code', { nullable: false }),
      reason: t.exposeString('reason', { nullable: false }),
    }),
  });
}

function sagaSentType(builder: MillraceBuilder) {
  claim(builder, 'type SagaSent', platform);
  const state = once(builder, stateType);
  const refusal = once(builder, sagaRefusalType);
  const error = once(builder, deadLetterErrorType);
  return builder.objectRef<SagaSent>('SagaSent').implement({
    description: 'A command that an instance sent.',
    fields: (t) => ({
      commandId: t.exposeID('commandId', { nullable: false }),
      aggregate: t.exposeString('aggregate', { nullable: false, description: 'Aggregate or service.' }),
      id: t.exposeID('id', { nullable: false }),
      type: t.exposeString('type', { nullable: false }),
      state: t.field({
        type: state,
        nullable: true,
        description: 'Null when nothing is known of it any more: it was settled more than a week ago.',
        resolve: (sent) => sent.state,
      }),
      attempts: t.exposeInt('attempts', { nullable: false }),
      refusal: t.field({ type: refusal, nullable: true, resolve: (sent) => sent.refusal }),
      error: t.field({ type: error, nullable: true, resolve: (sent) => sent.error }),
    }),
  });
}
