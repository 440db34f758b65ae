import type { Flow, FlowStep } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { eventType } from './event-type.ts';
import { claim, once } from './registry.ts';
import { abortable } from './subscribe.ts';

/** What one entry set in motion: read (`Query.flow`) and live (`Subscription.flow`). */
export function exposeFlow(builder: MillraceBuilder): true {
  const step = once(builder, flowStepType);
  claim(builder, 'type Flow', 'a type of the platform');
  const flow = builder.objectRef<Flow>('Flow').implement({
    description: 'Everything that one correlation id set in motion, as far as it came.',
    fields: (t) => ({
      correlationId: t.exposeID('correlationId', { nullable: false }),
      settled: t.exposeBoolean('settled', {
        nullable: false,
        description:
          'Nothing is under way any more: all is done, refused, cancelled or dead. Timers and commands that wait for a time in the future do not count.',
      }),
      truncated: t.exposeBoolean('truncated', {
        nullable: false,
        description: 'There are more than 2,000 steps; the oldest are here.',
      }),
      steps: t.field({
        type: [step],
        nullable: false,
        description: 'Causes before what they caused.',
        resolve: ({ steps }) => [...steps],
      }),
    }),
  });
  const description = 'Of the receipt, or what was sent as `x-correlation-id`.';
  claim(builder, 'Query.flow', 'a field of the platform');
  builder.queryField('flow', (t) =>
    t.field({
      type: flow,
      nullable: true,
      description: 'What a correlation id set in motion; null when nothing is known of it.',
      args: { correlationId: t.arg.id({ required: true, description }) },
      resolve: async (_root, { correlationId }, { runtime }) => (await runtime.flow(correlationId)) ?? null,
    }),
  );
  claim(builder, 'Subscription.flow', 'a field of the platform');
  builder.subscriptionField('flow', (t) =>
    t.field({
      type: step,
      nullable: false,
      description:
        'What a correlation id sets in motion, as it happens: each step as it is, and again whenever it changes. May begin before the flow does.',
      args: { correlationId: t.arg.id({ required: true, description }) },
      subscribe: (_root, { correlationId }, { runtime, signal }) =>
        abortable(signal, (aborted) => runtime.watchFlow(correlationId, aborted)),
      resolve: (one) => one,
    }),
  );
  return true;
}

function flowStepType(builder: MillraceBuilder) {
  const event = once(builder, eventType);
  for (const name of ['StepKind', 'StepError', 'FlowStep']) claim(builder, `type ${name}`, 'a type of the platform');
  const kind = builder.enumType('StepKind', {
    values: ['COMMAND', 'EVENT', 'PROJECTOR', 'SAGA', 'OBSERVER', 'SERVICE', 'TIMER'] as const,
  });
  const state = once(builder, stepStateType);
  const error = builder.objectRef<NonNullable<FlowStep['error']>>('StepError').implement({
    fields: (t) => ({
      code: t.exposeString('code', { nullable: false }),
      message: t.exposeString('message', { nullable: false }),
    }),
  });
  return builder.objectRef<FlowStep>('FlowStep').implement({
    description: 'One hop of what an entry (request, webhook, schedule) set in motion.',
    fields: (t) => ({
      id: t.exposeID('id', { nullable: false, description: 'The same whenever the step is told of.' }),
      parentId: t.exposeID('parentId', {
        nullable: true,
        description: 'The step that caused it; null for an entry, or when its cause lies outside the flow.',
      }),
      kind: t.field({ type: kind, nullable: false, resolve: (step) => step.kind }),
      name: t.exposeString('name', {
        nullable: false,
        description: 'Type of the command or event, name of the consumer, saga and name of the timer.',
      }),
      subject: t.exposeString('subject', {
        nullable: false,
        description: '`aggregate/id` of a command or event, the keys of a consumer.',
      }),
      status: t.field({ type: state, nullable: false, resolve: (step) => step.status }),
      attempts: t.exposeInt('attempts', { nullable: false }),
      startedAt: t.expose('startedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When it began; of a timer or delayed command that waits: when it is due.',
      }),
      durationMs: t.int({
        nullable: true,
        description:
          'Null while it is under way, and for what nobody timed. Handlers: from the event to the end of its handling.',
        resolve: ({ durationMs }) => (durationMs === null ? null : Math.min(Math.round(durationMs), 2_147_483_647)),
      }),
      error: t.field({ type: error, nullable: true, resolve: (step) => step.error }),
      event: t.field({
        type: event,
        nullable: true,
        description: 'Of an EVENT, once it has its place in the log.',
        resolve: (step) => step.event,
      }),
      truncated: t.exposeBoolean('truncated', {
        nullable: false,
        description: 'True on the last step that is told of when there are more than 2,000.',
      }),
    }),
  });
}

/** How a step of a flow, or a consumer with the events of a command, is. */
export function stepStateType(builder: MillraceBuilder) {
  claim(builder, 'type StepState', 'a type of the platform');
  return builder.enumType('StepState', {
    values: ['PENDING', 'RUNNING', 'DONE', 'REJECTED', 'RETRYING', 'DEAD', 'CANCELLED'] as const,
  });
}
