import type { Operation, OperatorCall } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { connectionOf, pageArguments, pageInput } from './connections.ts';
import { claim, once } from './registry.ts';
import { abortable } from './subscribe.ts';

const platform = 'a type of the platform';
const field = 'a field of the platform';

/** Who asks is not known before access rules exist. */
export const callOf = ({ reason }: { readonly reason: string }): OperatorCall => ({ actor: null, reason });

/** Every action of an operator says why. */
export const reasonArgument = (builder: MillraceBuilder) =>
  builder.args((t) => ({ reason: t.string({ required: true, description: 'Why: kept in the audit.' }) }));

/** Long work that operators started, with its progress. */
export function exposeOperations(builder: MillraceBuilder): true {
  const operation = once(builder, operationType);
  const connection = connectionOf(builder, 'Operation', operation, platform);
  claim(builder, 'Query.operation', field);
  claim(builder, 'Query.operations', field);
  builder.queryFields((t) => ({
    operation: t.field({
      type: operation,
      nullable: true,
      args: { id: t.arg.id({ required: true }) },
      resolve: async (_root, { id }, { runtime }) => (await runtime.operators.operation(id)) ?? null,
    }),
    operations: t.field({
      type: connection,
      nullable: false,
      description: 'The newest first.',
      args: pageArguments(builder),
      resolve: (_root, args, context) => context.runtime.operators.operations(pageInput(args, context)),
    }),
  }));
  claim(builder, 'Mutation.stopOperation', field);
  builder.mutationField('stopOperation', (t) =>
    t.field({
      type: operation,
      nullable: false,
      description: 'What was done stays done; an operation that is over stays as it is.',
      args: { id: t.arg.id({ required: true }), ...reasonArgument(builder) },
      resolve: (_root, args, { runtime }) => runtime.operators.stopOperation(args.id, callOf(args)),
    }),
  );
  claim(builder, 'Subscription.operationProgress', field);
  builder.subscriptionField('operationProgress', (t) =>
    t.field({
      type: operation,
      nullable: false,
      description: 'The operation now and whenever it changes, until it is over.',
      args: { id: t.arg.id({ required: true }) },
      subscribe: (_root, { id }, { runtime, signal }) =>
        abortable(signal, (aborted) => runtime.operators.watchOperation(id, aborted)),
      resolve: (now) => now,
    }),
  );
  return true;
}

export function operationType(builder: MillraceBuilder) {
  for (const name of ['Operation', 'OperationKind', 'OperationState']) claim(builder, `type ${name}`, platform);
  const kind = builder.enumType('OperationKind', {
    values: {
      RETRY_DEAD_LETTERS: { value: 'retryDeadLetters' },
      SKIP_DEAD_LETTERS: { value: 'skipDeadLetters' },
    } as const,
  });
  const state = builder.enumType('OperationState', {
    values: {
      RUNNING: {},
      STOPPED: { description: 'By an operator.' },
      DONE: { description: 'Everything that matched was looked at.' },
      FAILED: { description: 'Over, but some that matched were left as they are: `error` says which, and why.' },
    } as const,
  });
  return builder.objectRef<Operation>('Operation').implement({
    description: 'Long work that an operator started. Workers do it; it goes on when one of them dies.',
    fields: (t) => ({
      id: t.exposeID('id', { nullable: false }),
      kind: t.expose('kind', { type: kind, nullable: false }),
      state: t.expose('state', { type: state, nullable: false }),
      filter: t.field({ type: 'JSON', nullable: false, resolve: ({ filter }) => filter }),
      ratePerSecond: t.exposeFloat('ratePerSecond', { nullable: false }),
      totalCount: t.expose('totalCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'That matched when it began.',
      }),
      doneCount: t.expose('doneCount', {
        type: 'SafeInt',
        nullable: false,
        description:
          'Released to be tried, or skipped. Those that were healed by themselves meanwhile are not counted.',
      }),
      reason: t.exposeString('reason', { nullable: false }),
      actor: t.exposeString('actor', { nullable: true }),
      error: t.exposeString('error', { nullable: true }),
      startedAt: t.expose('startedAt', { type: 'DateTime', nullable: false }),
      updatedAt: t.expose('updatedAt', { type: 'DateTime', nullable: false }),
      finishedAt: t.expose('finishedAt', { type: 'DateTime', nullable: true }),
    }),
  });
}
