import type { DeadLetterFilter } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { connectionOf, pageArguments, pageInput } from './connections.ts';
import {
  deadLetterCountType,
  deadLetterFilterType,
  deadLetterGroupType,
  deadLetterType,
  retryPreviewType,
} from './dead-letter-types.ts';
import { callOf, exposeOperations, operationType, reasonArgument } from './operations.ts';
import { positionOf } from './positions.ts';
import { claim, once } from './registry.ts';
import { abortable } from './subscribe.ts';
import { timeOf } from './times.ts';

const platform = 'a type of the platform';
const field = 'a field of the platform';

/** Events that failed, and what operators do about them. */
export function exposeDeadLetters(builder: MillraceBuilder): true {
  once(builder, exposeOperations);
  exposeReads(builder);
  exposeActions(builder);
  const count = once(builder, deadLetterCountType);
  claim(builder, 'Subscription.deadLetterCounts', field);
  builder.subscriptionField('deadLetterCounts', (t) =>
    t.field({
      type: [count],
      nullable: { list: false, items: false },
      description: 'How many keys are blocked, by consumer: now, and within about a second of a change.',
      subscribe: (_root, _args, { runtime, signal }) =>
        abortable(signal, (aborted) => runtime.operators.watchDeadLetterCounts(aborted)),
      resolve: (counts) => [...counts],
    }),
  );
  return true;
}

function exposeReads(builder: MillraceBuilder): void {
  const letter = once(builder, deadLetterType);
  const group = once(builder, deadLetterGroupType);
  const filter = once(builder, deadLetterFilterType);
  const preview = once(builder, retryPreviewType);
  const connection = connectionOf(builder, 'DeadLetter', letter, platform);
  for (const name of ['deadLetters', 'deadLetter', 'deadLetterGroups', 'previewRetry'])
    claim(builder, `Query.${name}`, field);
  builder.queryFields((t) => ({
    deadLetters: t.field({
      type: connection,
      nullable: false,
      description: 'Keys whose event failed: the one that failed first comes first.',
      args: { filter: t.arg({ type: filter }), ...pageArguments(builder) },
      resolve: (_root, args, context) =>
        context.runtime.operators.deadLetters(filterInput(args.filter), pageInput(args, context)),
    }),
    deadLetter: t.field({
      type: letter,
      nullable: true,
      description: 'Null when there is none (any more): its key flows.',
      args: { id: t.arg.id({ required: true }) },
      resolve: async (_root, { id }, { runtime }) => (await runtime.operators.deadLetter(id)) ?? null,
    }),
    deadLetterGroups: t.field({
      type: [group],
      nullable: { list: false, items: false },
      description: 'Dead letters by what went wrong, the largest group first; at most 100 groups.',
      args: { filter: t.arg({ type: filter }) },
      resolve: async (_root, args, { runtime }) => [
        ...(await runtime.operators.deadLetterGroups(filterInput(args.filter))),
      ],
    }),
    previewRetry: t.field({
      type: preview,
      nullable: false,
      description:
        'What a retry with this filter would set in motion. For one id also what its handler would do, tried without writing.',
      args: { filter: t.arg({ type: filter, required: true }) },
      resolve: (_root, args, { runtime }) => runtime.operators.previewRetry(filterInput(args.filter)),
    }),
  }));
}

const about = {
  rate: 'Keys a second; default 100.',
  filter: 'Those that are DEAD, unless it names a state or one id.',
} as const;

function exposeActions(builder: MillraceBuilder): void {
  const letter = once(builder, deadLetterType);
  const filter = once(builder, deadLetterFilterType);
  const operation = once(builder, operationType);
  for (const name of ['retryDeadLetters', 'skipDeadLetters', 'skipDeadLetter'])
    claim(builder, `Mutation.${name}`, field);
  const bulk = () =>
    builder.args((t) => ({
      filter: t.field({ type: filter, required: true, description: about.filter }),
      ratePerSecond: t.float({ description: about.rate }),
    }));
  builder.mutationFields((t) => ({
    retryDeadLetters: t.field({
      type: operation,
      nullable: false,
      description:
        'Tries events again that failed, and what waits behind them. Workers do it, at a rate, and go on when one of them dies.',
      args: { ...bulk(), ...reasonArgument(builder) },
      resolve: (_root, args, { runtime }) =>
        runtime.operators.retryDeadLetters(filterInput(args.filter), args.ratePerSecond ?? undefined, callOf(args)),
    }),
    skipDeadLetters: t.field({
      type: operation,
      nullable: false,
      description:
        'Gives up events that failed, each with its entry in the audit; their keys go on with what waits behind them.',
      args: { ...bulk(), ...reasonArgument(builder) },
      resolve: (_root, args, { runtime }) =>
        runtime.operators.skipDeadLetters(filterInput(args.filter), args.ratePerSecond ?? undefined, callOf(args)),
    }),
    skipDeadLetter: t.field({
      type: letter,
      nullable: true,
      description:
        'Gives up the event that failed. The key goes on with what waits behind it: null, or the dead letter with its next event.',
      args: {
        id: t.arg.id({ required: true }),
        position: t.arg.string({ description: 'Only if this is still the event that failed.' }),
        ...reasonArgument(builder),
      },
      resolve: async (_root, args, { runtime }) => {
        const position = args.position == null ? undefined : positionOf('position', args.position);
        return (await runtime.operators.skipDeadLetter(args.id, callOf(args), position)) ?? null;
      },
    }),
  }));
}

interface GivenFilter extends Omit<DeadLetterFilter, 'since' | 'until'> {
  readonly since?: string | null | undefined;
  readonly until?: string | null | undefined;
}

function filterInput(given: GivenFilter | null | undefined): DeadLetterFilter {
  const { since, until, ...rest } = given ?? {};
  return { ...rest, since: timeOf('filter.since', since), until: timeOf('filter.until', until) };
}
