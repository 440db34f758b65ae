import type { GatewayContext } from '../src/gateway/context.ts';
import { type ConsumerState, MillraceError, type ResetPreview, type StartFrom } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { consumerType } from './consumers.ts';
import { callOf, reasonArgument } from './operations.ts';
import { positionOf } from './positions.ts';
import { claim, once } from './registry.ts';
import { timeOf } from './times.ts';

const platform = 'a type of the platform';
const field = 'a field of the platform';

/** Pause, resume, reset and retire consumers. */
export function exposeConsumerControls(builder: MillraceBuilder): true {
  const consumer = once(builder, consumerType);
  const to = once(builder, consumerStartType);
  const preview = once(builder, resetPreviewType);
  const resetArguments = () =>
    builder.args((t) => ({
      name: t.string({ required: true }),
      to: t.field({ type: to, required: true }),
      dropInstances: t.boolean({ description: 'Sagas: remove all instances, and begin without any.' }),
      repeatEffects: t.boolean({
        description:
          'Observers, to the past: run side effects again, and remove dead letters after the position. Default: events that were handled before are passed, unless the observer has `replays`.',
      }),
    }));
  claim(builder, 'Query.previewReset', field);
  builder.queryField('previewReset', (t) =>
    t.field({
      type: preview,
      nullable: false,
      description: 'What a reset would do, counted.',
      args: resetArguments(),
      resolve: (_root, args, { runtime }) =>
        runtime.operators.previewReset(args.name, startOf(args.to), optionsOf(args)),
    }),
  );
  for (const name of ['pauseConsumer', 'resumeConsumer', 'resetConsumer', 'retireConsumer']) {
    claim(builder, `Mutation.${name}`, field);
  }
  builder.mutationFields((t) => ({
    pauseConsumer: t.field({
      type: consumer,
      nullable: false,
      description: 'All processes stop running it, within a second. Nothing happens when it is paused.',
      args: { name: t.arg.string({ required: true }), ...reasonArgument(builder) },
      resolve: async (_root, args, context) => {
        await context.runtime.operators.pauseConsumer(args.name, callOf(args));
        return consumerNamed(args.name, context);
      },
    }),
    resumeConsumer: t.field({
      type: consumer,
      nullable: false,
      description: 'It goes on where it stood, within a second. Nothing happens when it runs.',
      args: { name: t.arg.string({ required: true }), ...reasonArgument(builder) },
      resolve: async (_root, args, context) => {
        await context.runtime.operators.resumeConsumer(args.name, callOf(args));
        return consumerNamed(args.name, context);
      },
    }),
    resetConsumer: t.field({
      type: preview,
      nullable: false,
      description:
        'Moves a paused consumer in the log; it stays paused. A projector begins as if it were new there: its documents and dead letters are removed. A saga keeps its instances forward, and goes back only without them. An observer goes back without its side effects. Answers what was done.',
      args: { ...resetArguments(), ...reasonArgument(builder) },
      resolve: (_root, args, { runtime }) =>
        runtime.operators.resetConsumer(args.name, startOf(args.to), callOf(args), optionsOf(args)),
    }),
    retireConsumer: t.field({
      type: 'Boolean',
      nullable: false,
      description:
        'Removes what a generation left behind that is in no module any more: its progress, dead letters, timers and documents.',
      args: {
        name: t.arg.string({ required: true }),
        generation: t.arg.int({ required: true }),
        ...reasonArgument(builder),
      },
      resolve: async (_root, args, { runtime }) => {
        await runtime.operators.retireConsumer(args.name, args.generation, callOf(args));
        return true;
      },
    }),
  }));
  return true;
}

async function consumerNamed(name: string, { runtime }: GatewayContext): Promise<ConsumerState> {
  const found = (await runtime.consumers()).find((one) => one.name === name);
  if (found !== undefined) return found;
  throw new MillraceError('UNKNOWN_CONSUMER', `There is no consumer "${name.slice(0, 100)}".`);
}

interface GivenOptions {
  readonly dropInstances?: boolean | null | undefined;
  readonly repeatEffects?: boolean | null | undefined;
}
const optionsOf = ({ dropInstances, repeatEffects }: GivenOptions) => ({
  dropInstances: dropInstances === true,
  repeatEffects: repeatEffects === true,
});

interface GivenStart {
  readonly start?: boolean | null | undefined;
  readonly now?: boolean | null | undefined;
  readonly position?: string | null | undefined;
  readonly time?: string | null | undefined;
}

/** Throws BAD_INPUT unless exactly one is given. */
function startOf({ start, now, position, time }: GivenStart): StartFrom {
  const wanted: StartFrom[] = [];
  if (start === true) wanted.push('start');
  if (now === true) wanted.push('now');
  if (position != null) wanted.push({ position: positionOf('to.position', position) });
  const at = timeOf('to.time', time);
  if (at !== undefined) wanted.push({ time: at });
  const [one, second] = wanted;
  if (one !== undefined && second === undefined) return one;
  throw new MillraceError('BAD_INPUT', '`to` must say exactly one of start, now, position and time.');
}

function consumerStartType(builder: MillraceBuilder) {
  claim(builder, 'type ConsumerStart', platform);
  return builder.inputType('ConsumerStart', {
    description: 'A place in the log. Exactly one of these.',
    fields: (t) => ({
      start: t.boolean({ description: 'Its first event.' }),
      now: t.boolean({ description: 'Its end: what is there counts as handled.' }),
      position: t.string({ description: 'Everything up to here counts as handled.' }),
      time: t.field({ type: 'DateTime', description: 'The first event that is not older.' }),
    }),
  });
}

function resetPreviewType(builder: MillraceBuilder) {
  claim(builder, 'type ConsumerReset', platform);
  return builder.objectRef<ResetPreview>('ConsumerReset').implement({
    description: 'What a reset does.',
    fields: (t) => ({
      position: t.string({ nullable: false, resolve: ({ position }) => String(position) }),
      logEnd: t.string({ nullable: false, resolve: ({ logEnd }) => String(logEnd) }),
      eventCount: t.expose('eventCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Events of the log from there on.',
      }),
      skippedCount: t.expose('skippedCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Events before that, not handled so far, that will never be.',
      }),
      documentCount: t.expose('documentCount', {
        type: 'SafeInt',
        nullable: false,
        description: 'Documents of the view, or instances of the saga, that are removed.',
      }),
      deadLetterCount: t.expose('deadLetterCount', { type: 'SafeInt', nullable: false }),
      effects: t.stringList({
        nullable: { list: false, items: false },
        description: 'In words.',
        resolve: ({ effects }) => [...effects],
      }),
    }),
  });
}
