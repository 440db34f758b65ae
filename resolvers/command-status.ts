import type { GatewayContext } from '../src/gateway/context.ts';
import type { CommandError, CommandProgress, CommandStatus, ConsumerProgress, QueuedCommand } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { connectionOf, pageArguments, pageInput } from './connections.ts';
import { consumerKind } from './consumers.ts';
import { stepStateType } from './flow.ts';
import { reasonArgument } from './operations.ts';
import { issueType, outcomeType } from './outcomes.ts';
import { claim, once } from './registry.ts';
import { abortable } from './subscribe.ts';

/** `command`, `findCommand`, `commandStatus`, and what operators do with queued commands. */
export function exposeCommandStatus(builder: MillraceBuilder): void {
  const status = once(builder, statusType);
  for (const name of ['command', 'findCommand']) claim(builder, `Query.${name}`, 'a field of the platform');
  builder.queryFields((t) => ({
    command: t.field({
      type: status,
      nullable: true,
      description: 'A command by the token of its receipt; null when nothing is known of it.',
      args: { token: t.arg({ type: 'Token', required: true }) },
      resolve: async (_root, { token }, { runtime }) => (await runtime.commandByToken(token)) ?? null,
    }),
    findCommand: t.field({
      type: status,
      nullable: true,
      description: 'A command by its address and commandId; null when nothing is known of it.',
      args: {
        aggregate: t.arg.string({ required: true, description: 'Name of the aggregate or service.' }),
        id: t.arg.id({ required: true, description: 'Of a service, the commandId once more.' }),
        commandId: t.arg.id({ required: true }),
      },
      resolve: async (_root, { aggregate, id, commandId }, { runtime }) =>
        (await runtime.findCommand(aggregate, id, commandId)) ?? null,
    }),
  }));
  claim(builder, 'Subscription.commandStatus', 'a field of the platform');
  builder.subscriptionField('commandStatus', (t) =>
    t.field({
      type: status,
      nullable: false,
      description:
        'Every state that a command passes, in order, those before the subscription among them; once it is ACCEPTED, how its consumers come on. Ends when it is settled.',
      args: { token: t.arg({ type: 'Token', required: true }) },
      subscribe: (_root, { token }, { runtime, signal }) =>
        abortable(signal, (aborted) => runtime.watchCommand(token, aborted)),
      // In order: its consumers are told of after it.
      resolve: (one) => (one.progress === undefined ? { ...one, progress: NO_PROGRESS } : one),
    }),
  );
  exposeQueuedCommands(builder);
}

function exposeQueuedCommands(builder: MillraceBuilder): void {
  const status = once(builder, statusType);
  const state = once(builder, stateType);
  const connection = connectionOf(builder, 'QueuedCommand', once(builder, queuedType), 'a type of the platform');
  claim(builder, 'Query.queuedCommands', 'a field of the platform');
  builder.queryField('queuedCommands', (t) =>
    t.field({
      type: connection,
      nullable: false,
      description:
        'Queued commands in one state: RECEIVED, RUNNING or DEAD. What has waited longest comes first. Those that wait for their `sendAt` are among `timers`.',
      args: {
        state: t.arg({ type: state, required: true }),
        target: t.arg.string({ description: 'Name of the aggregate or service.' }),
        ...pageArguments(builder),
      },
      resolve: (_root, { state: wanted, target, ...page }, context) =>
        context.runtime.queuedCommands({ state: wanted, target }, pageInput(page, context)),
    }),
  );
  const args = {
    ...builder.args((t) => ({ token: t.field({ type: 'Token', required: true }) })),
    ...reasonArgument(builder),
  };
  for (const name of ['retryCommand', 'cancelCommand']) claim(builder, `Mutation.${name}`, 'a field of the platform');
  builder.mutationFields((t) => ({
    retryCommand: t.field({
      type: status,
      nullable: false,
      description: 'A DEAD command waits for a worker again, its tries counted anew.',
      args,
      resolve: (_root, { token, reason }, { runtime }) => runtime.retryCommand(token, { reason }),
    }),
    cancelCommand: t.field({
      type: status,
      nullable: false,
      description: 'Gives up a command that has not begun (RECEIVED), or is DEAD. A saga that sent it hears of it.',
      args,
      resolve: (_root, { token, reason }, { runtime }) => runtime.cancelCommand(token, { reason }),
    }),
  }));
}

export function stateType(builder: MillraceBuilder) {
  claim(builder, 'type CommandState', 'a type of the platform');
  return builder.enumType('CommandState', {
    description: 'How far a command has come.',
    values: {
      RECEIVED: { description: 'Stored; no worker has begun it.' },
      RUNNING: { description: 'Begun, or waiting for its next try.' },
      ACCEPTED: { description: 'Carried out; its events are stored.' },
      REJECTED: { description: 'Refused by a rule; nothing happened.' },
      DEAD: { description: 'Its tries are used up: retry or cancel it.' },
      CANCELLED: { description: 'Given up by an operator; nothing happened.' },
    } as const,
  });
}

function errorType(builder: MillraceBuilder) {
  claim(builder, 'type CommandError', 'a type of the platform');
  const issue = once(builder, issueType);
  return builder.objectRef<CommandError>('CommandError').implement({
    description: 'What a try of a queued command failed with.',
    fields: (t) => ({
      code: t.exposeString('code', { nullable: false }),
      type: t.exposeString('type', { nullable: false, description: 'Class of the error.' }),
      message: t.exposeString('message', { nullable: false }),
      fingerprint: t.exposeString('fingerprint', { nullable: false, description: 'The same for errors of one kind.' }),
      issues: t.field({ type: [issue], nullable: false, resolve: ({ issues }) => [...issues] }),
    }),
  });
}

export function statusType(builder: MillraceBuilder) {
  claim(builder, 'type CommandStatus', 'a type of the platform');
  const state = once(builder, stateType);
  const outcome = once(builder, outcomeType);
  const error = once(builder, errorType);
  const consumer = once(builder, commandConsumerType);
  return builder.objectRef<CommandStatus>('CommandStatus').implement({
    description: 'What is known of a command that was sent before.',
    fields: (t) => ({
      commandId: t.exposeID('commandId', { nullable: false }),
      token: t.expose('token', { type: 'Token', nullable: false }),
      status: t.field({ type: state, nullable: false, resolve: (parent) => parent.status }),
      receipt: t.field({
        type: outcome,
        nullable: true,
        description: 'Once it is ACCEPTED, REJECTED or CANCELLED.',
        resolve: (parent) => parent.receipt,
      }),
      attempts: t.exposeInt('attempts', {
        nullable: false,
        description: 'Tries that ended; 1 for a command that was not queued.',
      }),
      error: t.field({
        type: error,
        nullable: true,
        description: 'Of the last try that failed.',
        resolve: (parent) => parent.error,
      }),
      sendAt: t.expose('sendAt', { type: 'DateTime', nullable: true }),
      nextAttemptAt: t.expose('nextAttemptAt', { type: 'DateTime', nullable: true }),
      updatedAt: t.field({ type: 'DateTime', nullable: false, resolve: (parent) => parent.updatedAt }),
      consumers: t.field({
        type: [consumer],
        nullable: false,
        description: 'Every consumer that handles one of its events, once they are in the log.',
        resolve: async (parent, _args, context) => [...(await progressOf(parent, context)).consumers],
      }),
      settled: t.boolean({
        nullable: false,
        description: 'All consumers of its events are done, or dead.',
        resolve: async (parent, _args, context) => (await progressOf(parent, context)).settled,
      }),
    }),
  });
}

const NO_PROGRESS: CommandProgress = { consumers: [], settled: false };
const looked = new WeakMap<CommandStatus, Promise<CommandProgress>>();
/** One look for all fields of one answer. */
function progressOf(status: CommandStatus, { runtime }: GatewayContext): Promise<CommandProgress> {
  if (status.progress !== undefined) return Promise.resolve(status.progress);
  const look = looked.get(status) ?? runtime.commandProgress(status);
  looked.set(status, look);
  return look;
}

function commandConsumerType(builder: MillraceBuilder) {
  claim(builder, 'type CommandConsumer', 'a type of the platform');
  const state = once(builder, stepStateType);
  const kind = once(builder, consumerKind);
  return builder.objectRef<ConsumerProgress>('CommandConsumer').implement({
    description: 'How a consumer is with the events of a command: the worst of them counts.',
    fields: (t) => ({
      name: t.exposeString('name', { nullable: false }),
      kind: t.field({ type: kind, nullable: false, resolve: (parent) => parent.kind }),
      state: t.field({ type: state, nullable: false, resolve: (parent) => parent.state }),
    }),
  });
}

function queuedType(builder: MillraceBuilder) {
  claim(builder, 'type QueuedCommand', 'a type of the platform');
  const status = once(builder, statusType);
  return builder.objectRef<QueuedCommand>('QueuedCommand').implement({
    description: 'A command that waits for a worker, or is dead.',
    fields: (t) => ({
      status: t.field({ type: status, nullable: false, resolve: (parent) => parent.status }),
      target: t.exposeString('target', { nullable: false, description: 'Name of the aggregate or service.' }),
      id: t.exposeID('id', { nullable: false }),
      type: t.exposeString('type', { nullable: false }),
      correlationId: t.exposeID('correlationId', { nullable: false }),
      actor: t.exposeString('actor', { nullable: true }),
      receivedAt: t.expose('receivedAt', { type: 'DateTime', nullable: false }),
    }),
  });
}
