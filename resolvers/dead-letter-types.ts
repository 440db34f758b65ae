import type {
  DeadLetter,
  DeadLetterCount,
  DeadLetterGroup,
  DryRun,
  ParkedEvent,
  RetryPreview,
  StoredError,
} from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { connectionOf, pageArguments, pageInput } from './connections.ts';
import { consumerKind } from './consumers.ts';
import { eventType } from './event-type.ts';
import { claim, once } from './registry.ts';

const platform = 'a type of the platform';

function deadLetterStateType(builder: MillraceBuilder) {
  claim(builder, 'type DeadLetterState', platform);
  return builder.enumType('DeadLetterState', {
    values: {
      RETRYING: { description: 'It is tried again by itself.' },
      DEAD: { description: 'Its tries are used up, or cannot help: an operator or a deployment must act.' },
    } as const,
  });
}

export function deadLetterFilterType(builder: MillraceBuilder) {
  claim(builder, 'type DeadLetterFilter', platform);
  const state = once(builder, deadLetterStateType);
  return builder.inputType('DeadLetterFilter', {
    description: 'All that is given must hold.',
    fields: (t) => ({
      ids: t.idList({ description: 'At most 1,000.' }),
      consumer: t.string(),
      key: t.id(),
      state: t.field({ type: state }),
      fingerprint: t.string({ description: 'Of the error: that of a group.' }),
      eventType: t.string({
        description: 'Of the event that failed; of sagas also the name of a timer or type of a command.',
      }),
      correlationId: t.id(),
      since: t.field({ type: 'DateTime', description: 'Failed first at or after this.' }),
      until: t.field({ type: 'DateTime', description: 'Failed first before this.' }),
    }),
  });
}

export function deadLetterErrorType(builder: MillraceBuilder) {
  claim(builder, 'type DeadLetterIssue', platform);
  claim(builder, 'type DeadLetterError', platform);
  const issue = builder.objectRef<NonNullable<StoredError['issues']>[number]>('DeadLetterIssue').implement({
    fields: (t) => ({
      path: t.stringList({ nullable: { list: false, items: false }, resolve: ({ path }) => path.map(String) }),
      message: t.exposeString('message', { nullable: false }),
    }),
  });
  return builder.objectRef<StoredError>('DeadLetterError').implement({
    description: 'What a handler threw, cut to a bounded size.',
    fields: (t) => ({
      code: t.exposeString('code', { nullable: false }),
      type: t.exposeString('type', {
        nullable: false,
        description: 'Class of the error, or what was thrown instead of one.',
      }),
      message: t.exposeString('message', { nullable: false }),
      stack: t.exposeString('stack', { nullable: true }),
      fingerprint: t.exposeString('fingerprint', {
        nullable: false,
        description: 'The same for errors of one type, shape of message and place in the code.',
      }),
      issues: t.field({
        type: [issue],
        nullable: { list: false, items: false },
        description: 'What a schema objected to.',
        resolve: ({ issues }) => [...(issues ?? [])],
      }),
    }),
  });
}

function parkedEventType(builder: MillraceBuilder) {
  claim(builder, 'type ParkedEvent', platform);
  const event = once(builder, eventType);
  return builder.objectRef<ParkedEvent>('ParkedEvent').implement({
    description: 'An event that waits behind a dead letter of its key.',
    fields: (t) => ({
      position: t.string({ nullable: false, resolve: ({ position }) => String(position) }),
      event: t.field({
        type: event,
        nullable: true,
        resolve: async ({ position }, _args, { runtime }) => (await runtime.operators.eventAt(position)) ?? null,
      }),
    }),
  });
}

export function deadLetterType(builder: MillraceBuilder) {
  claim(builder, 'type DeadLetter', platform);
  claim(builder, 'type DeadLetterInput', platform);
  const state = once(builder, deadLetterStateType);
  const kind = once(builder, consumerKind);
  const error = once(builder, deadLetterErrorType);
  const event = once(builder, eventType);
  const parked = connectionOf(builder, 'ParkedEvent', once(builder, parkedEventType), platform);
  const input = builder.enumType('DeadLetterInput', {
    description: 'What failed.',
    values: {
      EVENT: { value: 'event', description: 'An event of the log.' },
      TIMER: { value: 'timer', description: 'A timer of a saga.' },
      REFUSAL: { value: 'refusal', description: 'A refused command of a saga, told to it.' },
    } as const,
  });
  return builder.objectRef<DeadLetter>('DeadLetter').implement({
    description: 'A key of a consumer whose event failed: the later events of that key wait behind it, in order.',
    fields: (t) => ({
      id: t.exposeID('id', { nullable: false }),
      consumer: t.exposeString('consumer', { nullable: false }),
      consumerKind: t.expose('consumerKind', { type: kind, nullable: false }),
      generation: t.exposeInt('generation', { nullable: false }),
      partition: t.exposeInt('partition', { nullable: false }),
      key: t.exposeID('key', { nullable: false }),
      state: t.expose('state', { type: state, nullable: false }),
      input: t.expose('input', { type: input, nullable: false }),
      inputType: t.exposeString('inputType', {
        nullable: false,
        description: 'Event type, timer name or command type.',
      }),
      position: t.string({ nullable: false, resolve: ({ position }) => String(position) }),
      event: t.field({
        type: event,
        nullable: true,
        description:
          'The event that failed; as it is stored where the code of today cannot read it. Null for other inputs.',
        resolve: async (one, _args, { runtime }) =>
          one.input === 'event' ? ((await runtime.operators.eventAt(one.position)) ?? null) : null,
      }),
      correlationId: t.exposeID('correlationId', { nullable: true }),
      attempts: t.exposeInt('attempts', {
        nullable: false,
        description: 'Tries since it failed first, or was retried.',
      }),
      maxAttempts: t.exposeInt('maxAttempts', { nullable: true, description: 'Null: for ever.' }),
      error: t.expose('error', { type: error, nullable: false }),
      parkedCount: t.expose('parkedCount', { type: 'SafeInt', nullable: false }),
      parkedEvents: t.field({
        type: parked,
        nullable: false,
        args: pageArguments(builder),
        resolve: ({ id }, args, context) => context.runtime.operators.parkedEvents(id, pageInput(args, context)),
      }),
      firstFailedAt: t.expose('firstFailedAt', { type: 'DateTime', nullable: false }),
      lastFailedAt: t.expose('lastFailedAt', { type: 'DateTime', nullable: false }),
      nextAttemptAt: t.expose('nextAttemptAt', { type: 'DateTime', nullable: true, description: 'Null when DEAD.' }),
    }),
  });
}

export function deadLetterGroupType(builder: MillraceBuilder) {
  claim(builder, 'type DeadLetterGroup', platform);
  const letter = once(builder, deadLetterType);
  return builder.objectRef<DeadLetterGroup>('DeadLetterGroup').implement({
    description: 'Dead letters with the same error.',
    fields: (t) => ({
      fingerprint: t.exposeString('fingerprint', { nullable: false }),
      count: t.expose('count', { type: 'SafeInt', nullable: false }),
      retryingCount: t.expose('retryingCount', { type: 'SafeInt', nullable: false }),
      deadCount: t.expose('deadCount', { type: 'SafeInt', nullable: false }),
      keyCount: t.expose('keyCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Keys, counted for each consumer.',
      }),
      parkedCount: t.expose('parkedCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Events that wait behind them.',
      }),
      consumers: t.stringList({ nullable: { list: false, items: false }, resolve: ({ consumers }) => [...consumers] }),
      oldest: t.expose('oldest', { type: 'DateTime', nullable: false }),
      newest: t.expose('newest', { type: 'DateTime', nullable: false }),
      sample: t.expose('sample', { type: letter, nullable: false, description: 'The one that failed last.' }),
    }),
  });
}

export function deadLetterCountType(builder: MillraceBuilder) {
  claim(builder, 'type DeadLetterCount', platform);
  return builder.objectRef<DeadLetterCount>('DeadLetterCount').implement({
    description: 'Blocked keys of a consumer. Consumers without any are absent.',
    fields: (t) => ({
      consumer: t.exposeString('consumer', { nullable: false }),
      retryingCount: t.expose('retryingCount', { type: 'SafeInt', nullable: false }),
      deadCount: t.expose('deadCount', { type: 'SafeInt', nullable: false }),
      parkedCount: t.expose('parkedCount', { type: 'SafeInt', nullable: false }),
    }),
  });
}

export function retryPreviewType(builder: MillraceBuilder) {
  for (const name of ['RetryPreview', 'RetryPreviewConsumer', 'DryRun', 'DryRunResult'])
    claim(builder, `type ${name}`, platform);
  const error = once(builder, deadLetterErrorType);
  const result = builder.enumType('DryRunResult', {
    values: {
      WOULD_SUCCEED: {},
      WOULD_FAIL: {},
      NOT_TRIED: { description: 'It cannot be tried without doing it; `reason` says why.' },
    } as const,
  });
  const dryRun = builder.objectRef<DryRun>('DryRun').implement({
    description: 'What the handler of today makes of the event, written in a transaction that was given up.',
    fields: (t) => ({
      result: t.expose('result', { type: result, nullable: false }),
      error: t.expose('error', { type: error, nullable: true }),
      reason: t.exposeString('reason', { nullable: true }),
    }),
  });
  const consumer = builder.objectRef<RetryPreview['consumers'][number]>('RetryPreviewConsumer').implement({
    fields: (t) => ({
      name: t.exposeString('name', { nullable: false }),
      keyCount: t.expose('keyCount', { type: 'SafeInt', nullable: false }),
      eventCount: t.expose('eventCount', { type: 'SafeInt', nullable: false }),
    }),
  });
  return builder.objectRef<RetryPreview>('RetryPreview').implement({
    fields: (t) => ({
      keyCount: t.expose('keyCount', { type: 'SafeInt', nullable: false }),
      eventCount: t.expose('eventCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Events that failed and those that wait behind them.',
      }),
      oldest: t.expose('oldest', { type: 'DateTime', nullable: true }),
      consumers: t.field({
        type: [consumer],
        nullable: { list: false, items: false },
        resolve: ({ consumers }) => [...consumers],
      }),
      dryRun: t.expose('dryRun', { type: dryRun, nullable: true, description: 'When the filter names one id.' }),
    }),
  });
}
