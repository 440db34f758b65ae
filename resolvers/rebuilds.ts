import type { Rebuild, RebuildDiff, RebuildDiffField, RebuildDiffSample } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { callOf, reasonArgument } from './operations.ts';
import { claim, once } from './registry.ts';

const platform = 'a type of the platform';
const field = 'a field of the platform';

/** New versions of projectors that are built beside those that are read. */
export function exposeRebuilds(builder: MillraceBuilder): true {
  const rebuild = once(builder, rebuildType);
  const diff = once(builder, rebuildDiffType);
  for (const name of ['rebuilds', 'rebuildDiff']) claim(builder, `Query.${name}`, field);
  builder.queryFields((t) => ({
    rebuilds: t.field({
      type: [rebuild],
      nullable: false,
      description: 'Versions that are being built, and those that are read since while the version before is kept.',
      resolve: async (_root, _args, { runtime }) => [...(await runtime.operators.rebuilds())],
    }),
    rebuildDiff: t.field({
      type: diff,
      nullable: false,
      description:
        'The new version beside the one that is read, document by document. A part of some seconds: pass its `next` as `after` until it is null.',
      args: { projector: t.arg.string({ required: true }), after: t.arg({ type: 'Cursor' }) },
      resolve: (_root, { projector, after }, { runtime }) =>
        runtime.operators.rebuildDiff(projector, after ?? undefined),
    }),
  }));
  const actions = {
    swapRebuild: 'Reads go over to the new version now: when it is level and nothing of it waits.',
    pauseRebuild: 'All processes stop building it, within a second. Nothing happens when it is paused.',
    resumeRebuild: 'It goes on where it stood, within a second. Nothing happens when it runs.',
    abortRebuild: 'What was built is removed. It stays so until it is started anew; reads stay where they are.',
    startRebuild: 'Builds an aborted one anew.',
  } as const;
  for (const [name, description] of Object.entries(actions)) {
    claim(builder, `Mutation.${name}`, field);
    builder.mutationField(name, (t) =>
      t.field({
        type: rebuild,
        nullable: false,
        description,
        args: { projector: t.arg.string({ required: true }), ...reasonArgument(builder) },
        resolve: (_root, args, { runtime }) =>
          runtime.operators[name as keyof typeof actions](args.projector, callOf(args)),
      }),
    );
  }
  return true;
}

function rebuildType(builder: MillraceBuilder) {
  for (const name of ['Rebuild', 'RebuildState', 'RebuildHold']) claim(builder, `type ${name}`, platform);
  const state = builder.enumType('RebuildState', {
    values: {
      BUILDING: { description: 'It handles the log.' },
      READY: { description: 'It is level with the log; `waitsFor` says what it waits for.' },
      PAUSED: { description: 'By an operator.' },
      ABORTED: { description: 'By an operator: nothing of it is left. `startRebuild` builds it anew.' },
      SWAPPED: { description: 'It is read; the version before is kept until it is retired (`retireConsumer`).' },
    } as const,
  });
  const hold = builder.objectRef<NonNullable<Rebuild['held']>>('RebuildHold').implement({
    fields: (t) => ({
      since: t.expose('since', { type: 'DateTime', nullable: false }),
      reason: t.exposeString('reason', { nullable: false }),
      actor: t.exposeString('actor', { nullable: true }),
    }),
  });
  return builder.objectRef<Rebuild>('Rebuild').implement({
    description: 'A version of a projector that is built beside the one that is read.',
    fields: (t) => ({
      projector: t.exposeString('projector', { nullable: false }),
      view: t.exposeString('view', { nullable: false }),
      from: t.exposeInt('from', { nullable: false, description: 'Generation that is read until the swap.' }),
      to: t.exposeInt('to', { nullable: false }),
      state: t.expose('state', { type: state, nullable: false }),
      held: t.expose('held', { type: hold, nullable: true, description: 'Who paused or aborted it, and why.' }),
      percent: t.exposeFloat('percent', { nullable: false, description: 'Of the log.' }),
      position: t.string({
        nullable: false,
        description: 'Everything up to here is handled, or waits behind a dead letter.',
        resolve: ({ position }) => String(position),
      }),
      logEnd: t.string({ nullable: false, resolve: ({ logEnd }) => String(logEnd) }),
      eventsPerSecond: t.expose('eventsPerSecond', {
        type: 'SafeInt',
        nullable: true,
        description: 'In the last seconds; where nobody asked before, since it began. Null: it does not run.',
      }),
      etaSeconds: t.expose('etaSeconds', {
        type: 'SafeInt',
        nullable: true,
        description: 'Until it is level, at this speed.',
      }),
      retryingCount: t.expose('retryingCount', { type: 'SafeInt', nullable: false }),
      deadCount: t.expose('deadCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Keys whose event failed for good in the new version: it is not swapped in while there are any.',
      }),
      parkedCount: t.expose('parkedCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Events that wait behind keys that failed.',
      }),
      startedAt: t.expose('startedAt', { type: 'DateTime', nullable: false }),
      swappedAt: t.expose('swappedAt', { type: 'DateTime', nullable: true }),
      waitsFor: t.stringList({
        nullable: { list: false, items: false },
        description: 'What keeps it from being swapped in, in words.',
        resolve: ({ waitsFor }) => [...waitsFor],
      }),
      runnerCount: t.exposeInt('runnerCount', { nullable: false, description: 'Processes that run the new version.' }),
      readerCount: t.exposeInt('readerCount', {
        nullable: false,
        description: 'Processes that still read the version before.',
      }),
    }),
  });
}

function rebuildDiffType(builder: MillraceBuilder) {
  const names = ['RebuildDiff', 'RebuildDiffSample', 'RebuildDiffField', 'RebuildDiffKind'];
  for (const name of names) claim(builder, `type ${name}`, platform);
  const kind = builder.enumType('RebuildDiffKind', { values: ['CHANGED', 'ONLY_OLD', 'ONLY_NEW'] as const });
  const value = builder.objectRef<RebuildDiffField>('RebuildDiffField').implement({
    fields: (t) => ({
      name: t.exposeString('name', { nullable: false }),
      old: t.field({
        type: 'JSON',
        nullable: true,
        description: 'Null also where the document does not have it.',
        resolve: ({ older }) => older ?? null,
      }),
      new: t.field({ type: 'JSON', nullable: true, resolve: ({ newer }) => newer ?? null }),
    }),
  });
  const sample = builder.objectRef<RebuildDiffSample>('RebuildDiffSample').implement({
    fields: (t) => ({
      id: t.exposeID('id', { nullable: false }),
      kind: t.expose('kind', { type: kind, nullable: false }),
      fields: t.field({
        type: [value],
        nullable: false,
        description: 'Those that differ, at most 20.',
        resolve: ({ fields }) => [...fields],
      }),
    }),
  });
  return builder.objectRef<RebuildDiff>('RebuildDiff').implement({
    description: 'A part of the comparison of two versions of a view.',
    fields: (t) => ({
      projector: t.exposeString('projector', { nullable: false }),
      from: t.exposeInt('from', { nullable: false }),
      to: t.exposeInt('to', { nullable: false }),
      logEnd: t.string({ nullable: false, resolve: ({ logEnd }) => String(logEnd) }),
      oldPosition: t.string({
        nullable: false,
        description: 'How far the version that is read was.',
        resolve: ({ oldPosition }) => String(oldPosition),
      }),
      newPosition: t.string({
        nullable: false,
        description: 'How far the new version was.',
        resolve: ({ newPosition }) => String(newPosition),
      }),
      sameCount: t.expose('sameCount', { type: 'SafeInt', nullable: false }),
      changedCount: t.expose('changedCount', { type: 'SafeInt', nullable: false }),
      onlyOldCount: t.expose('onlyOldCount', { type: 'SafeInt', nullable: false }),
      onlyNewCount: t.expose('onlyNewCount', { type: 'SafeInt', nullable: false }),
      unsettledCount: t.expose('unsettledCount', {
        type: 'SafeInt',
        nullable: false,
        description:
          'They differ, and one of the two has not handled the last event of the other: nobody can tell yet. 0 when both are level.',
      }),
      samples: t.field({
        type: [sample],
        nullable: false,
        description: 'The first that differ, at most 20.',
        resolve: ({ samples }) => [...samples],
      }),
      next: t.expose('next', { type: 'Cursor', nullable: true, description: 'Null: this was the last part.' }),
      totalCount: t.expose('totalCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Documents to compare, by estimate.',
      }),
    }),
  });
}
