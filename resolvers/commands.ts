import type { GatewayContext } from '../src/gateway/context.ts';
import {
  type AnyAggregate,
  type AnyService,
  type CommandOutcome,
  type CommandRequest,
  isMillraceError,
  jsonSchemaOf,
  MillraceError,
  type Schema,
} from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { exposeCommandStatus } from './command-status.ts';
import { described, inputTypeOf, type Typed } from './derive.ts';
import { camelCase, checkedName, pascalCase } from './names.ts';
import { outcomeType } from './outcomes.ts';
import { claim, type DerivedInput, once } from './registry.ts';
import { shapeOf } from './shape.ts';

/** How a command is shown. */
export interface CommandExposure {
  /** Mutation field; default: the command's type in camelCase. */
  readonly name?: string;
  readonly hidden?: boolean;
  readonly description?: string;
}

/** How many commands one `sendCommands` takes. */
const BATCH_MAX_COUNT = 100;

/** The mutation of one command of an aggregate or service. */
export function exposeCommand(
  builder: MillraceBuilder,
  target: AnyAggregate | AnyService,
  type: string,
  schema: Schema,
  modulePlace: string,
  exposure: CommandExposure,
): void {
  const place = `${modulePlace}, ${target.kind} "${target.name}", command "${type}"`;
  const name = checkedName(exposure.name ?? camelCase(type), place);
  const shape = shapeOf(jsonSchemaOf(schema, 'input', place), 'command');
  // GraphQL has no empty input types: a command without data takes no input.
  const empty = shape.kind === 'object' && shape.fields().length === 0;
  claim(builder, `Mutation.${name}`, place);
  const input = empty ? undefined : inputTypeOf(builder, shape, pascalCase(name), place);
  const outcome = once(builder, outcomeType);
  builder.mutationField(name, (t) => {
    const options = target.kind === 'service' ? serviceArguments(builder) : aggregateArguments(builder, target, type);
    const send = (given: CommandArguments, data: unknown, context: GatewayContext): Promise<CommandOutcome> =>
      context.runtime.handle(requestOf({ ...given, aggregate: target.name, type, data }, context));
    const common = {
      type: outcome,
      nullable: false,
      ...described(exposure.description ?? shape.description),
    } as const;
    if (input === undefined) {
      return t.field({ ...common, args: options, resolve: (_root, args, context) => send(args, {}, context) });
    }
    return t.field({
      ...common,
      args: { input: inputArgument(builder, input, !shape.nullable), ...options },
      resolve: (_root, args, context) => send(args, args.input, context),
    });
  });
}

/** `id` and how the command is sent. */
const aggregateArguments = (builder: MillraceBuilder, aggregate: AnyAggregate, type: string) => {
  const creates = aggregate.creates.includes(type);
  const about = creates ? 'Left out, the platform chooses it; the same for every try of a commandId.' : undefined;
  return builder.args((t) => ({
    id: t.id({ required: !creates, ...described(about) }),
    ...commandArguments(builder),
  }));
};

/** Always queued, each with a stream of its own. */
const serviceArguments = (builder: MillraceBuilder) => {
  const { commandId, sendAt } = commandArguments(builder);
  return { commandId, sendAt };
};

function inputArgument(
  builder: MillraceBuilder,
  { type, list, itemsNullable }: Typed<DerivedInput>,
  required: boolean,
) {
  const { input } = builder.args((t) => ({
    input: list
      ? t.field({ type: [type], required: { list: required, items: !itemsNullable } })
      : t.field({ type, required }),
  }));
  return input;
}

const about = {
  commandId:
    'Idempotency key: chosen once before the first try and sent again with every repeat, it makes a repeat harmless.',
  expectedVersion: 'Refuse unless the stream is at exactly this version; 0: does not exist.',
  dryRun: 'Decide and answer, store nothing. Not for what is queued.',
  mode: 'Default NOW; commands of services are always queued.',
  sendAt: 'Queue it, and carry it out at this time; a time in the past means at once.',
} as const;

function commandMode(builder: MillraceBuilder) {
  claim(builder, 'type CommandMode', 'a type of the platform');
  return builder.enumType('CommandMode', {
    description: 'When a command is decided.',
    values: {
      NOW: { description: 'Before the answer, which is its receipt.' },
      QUEUED: { description: 'After the answer, by a worker: stored, and certain to be carried out.' },
    } as const,
  });
}

const commandArguments = (builder: MillraceBuilder) =>
  builder.args((t) => ({
    commandId: t.id({ description: about.commandId }),
    expectedVersion: t.int({ description: about.expectedVersion }),
    dryRun: t.boolean({ description: about.dryRun }),
    mode: t.field({ type: once(builder, commandMode), description: about.mode }),
    sendAt: t.field({ type: 'DateTime', description: about.sendAt }),
  }));

interface CommandArguments {
  readonly id?: string | null | undefined;
  readonly commandId?: string | null | undefined;
  readonly expectedVersion?: number | null | undefined;
  readonly dryRun?: boolean | null | undefined;
  readonly mode?: 'NOW' | 'QUEUED' | null | undefined;
  readonly sendAt?: string | null | undefined;
}
interface Envelope extends CommandArguments {
  readonly aggregate: string;
  readonly type: string;
  readonly data: unknown;
}

function requestOf(given: Envelope, { correlationId, traceparent, client, baggage }: GatewayContext): CommandRequest {
  return {
    aggregate: given.aggregate,
    type: given.type,
    data: given.data,
    id: given.id ?? undefined,
    commandId: given.commandId ?? undefined,
    expectedVersion: given.expectedVersion ?? undefined,
    dryRun: given.dryRun ?? undefined,
    mode: given.mode ?? undefined,
    sendAt: given.sendAt == null ? undefined : sendTime(given.sendAt),
    meta: { correlationId, traceparent, client, ...(baggage === null ? {} : { baggage }) },
  };
}

/** An invalid date for what is no point in time: the answer is then that of wrong data. */
function sendTime(text: string): Date {
  const [, year, month, day] = /^(\d{4}|[+-]\d{6})-(\d{2})-(\d{2})T.*(?:Z|[+-]\d{2}:\d{2})$/.exec(text) ?? [];
  // JavaScript takes 30 February for a day in March.
  const isDay = new Date(`${year}-${month}-${day}T00:00Z`).getUTCDate() === Number(day);
  return new Date(isDay ? text : Number.NaN);
}

/** `sendCommands` and what there is to know of commands that were sent. */
export function exposeCommandTopics(builder: MillraceBuilder): true {
  const outcome = once(builder, outcomeType);
  claim(builder, 'type CommandEnvelope', 'a type of the platform');
  const envelope = builder.inputType('CommandEnvelope', {
    description: 'A command with its address.',
    fields: (t) => ({
      aggregate: t.string({ required: true, description: 'Name of the aggregate or service.' }),
      id: t.id({ description: 'May be left out for commands that create, and for services.' }),
      type: t.string({ required: true, description: 'Wire name, for example "OpenAccount".' }),
      input: t.field({ type: 'JSON', required: false }),
      commandId: t.id({ description: about.commandId }),
      expectedVersion: t.int({ description: about.expectedVersion }),
      dryRun: t.boolean({ description: about.dryRun }),
      mode: t.field({ type: once(builder, commandMode), description: about.mode }),
      sendAt: t.field({ type: 'DateTime', description: about.sendAt }),
    }),
  });
  claim(builder, 'Mutation.sendCommands', 'a field of the platform');
  builder.mutationField('sendCommands', (t) =>
    t.field({
      type: [outcome],
      nullable: { list: false, items: false },
      description: `Sends up to ${BATCH_MAX_COUNT} commands at once, in no promised order; each has its own outcome. When one of them ends in an error, the whole field is that error: others may have taken effect. Repeat with the commandIds it names.`,
      args: { commands: t.arg({ type: [envelope], required: true }) },
      resolve: (_root, { commands }, context) =>
        sendAll(
          commands.map(({ input, ...rest }) => ({ ...rest, data: input ?? {} })),
          context,
        ),
    }),
  );
  exposeCommandStatus(builder);
  return true;
}

async function sendAll(envelopes: readonly Envelope[], context: GatewayContext): Promise<CommandOutcome[]> {
  if (envelopes.length > BATCH_MAX_COUNT) {
    throw new MillraceError(
      'BAD_INPUT',
      `sendCommands takes at most ${BATCH_MAX_COUNT} commands, got ${envelopes.length}. Send them in several requests.`,
    );
  }
  // Ids are given here where the client gave none, so that an error can name what to repeat.
  const named = envelopes.map((given) => ({ ...given, commandId: given.commandId ?? globalThis.crypto.randomUUID() }));
  const answers = await Promise.allSettled(
    named.map((given) => unknownName(given, context) ?? context.runtime.handle(requestOf(given, context))),
  );
  return answers.map((answer) => {
    if (answer.status === 'fulfilled') return answer.value;
    const cause: unknown = answer.reason;
    const { code, message, details } = isMillraceError(cause)
      ? cause
      : new MillraceError('INTERNAL', 'A command of sendCommands failed.');
    const commandIds = named.map(({ commandId }) => commandId);
    throw new MillraceError(code, message, { cause, details: { ...details, commandIds } });
  });
}

/** In an envelope the names are data: a wrong one spoils its own command only. */
function unknownName(
  { aggregate, type, commandId }: Envelope,
  { runtime }: GatewayContext,
): CommandOutcome | undefined {
  const known = runtime.model.aggregates.get(aggregate) ?? runtime.model.services.get(aggregate);
  const path = known === undefined ? 'aggregate' : 'type';
  if (known?.commands.has(type) === true) return undefined;
  const message = known === undefined ? 'there is no such aggregate or service' : `"${aggregate}" has no such command`;
  return { kind: 'invalid', commandId: commandId ?? null, issues: [{ path: [path], message }] };
}
