import type { AnyAggregate, Contract, Rejection } from './aggregate.ts';
import { eventModel } from './event-model.ts';
import type { AggregateModel, CommandModel, EventModel, PlainEvent } from './model.ts';
import { checkFunction, checkList, checkMap, checkName, checkVersion, invalid } from './refuse.ts';
import { checkInput, fieldsOf } from './schema-rules.ts';

/**
 * Checks one aggregate and makes it ready to run. Throws DEFINITION_INVALID or SCHEMA_NOT_DERIVABLE, naming what is
 * missing or unknown.
 */
export function aggregateModel(definition: AnyAggregate, place: string): AggregateModel {
  checkMap(definition.events, 'events', place);
  checkMap(definition.commands, 'commands', place);
  checkMap(definition.fields, 'fields', place);
  checkFunction(definition.initial, 'initial', place);
  for (const list of ['rejections', 'creates', 'closes'] as const) checkList(definition[list], list, place);
  checkRejections(definition.rejections, place);
  const { snapshot } = definition;
  if (snapshot !== undefined) {
    checkVersion(snapshot.version, `${place}, snapshot`);
    if (!Number.isSafeInteger(snapshot.every) || snapshot.every < 1) {
      throw invalid(`${place}, snapshot`, `every is ${String(snapshot.every)}. Use a whole number from 1.`);
    }
  }

  const events = new Map<string, EventModel>();
  for (const [type, source] of Object.entries(definition.events)) {
    checkName('event', type, place);
    const closes = definition.closes.includes(type);
    events.set(type, eventModel(definition.name, type, source, closes, `${place}, event "${type}"`));
  }
  const commands = new Map<string, CommandModel>();
  for (const type of Object.keys(definition.commands)) commands.set(type, commandModel(definition, type, place));

  checkKnown(definition.creates, commands, 'creates', place);
  checkKnown(definition.closes, events, 'closes', place);
  checkKnown(Object.keys(definition.fields), commands, 'fields', place);
  checkHandlers(definition.handlers.evolve, events, 'evolve', 'event', place);
  checkHandlers(definition.handlers.decide, commands, 'decide', 'command', place);
  return {
    name: definition.name,
    definition,
    commands,
    events,
    initial: definition.initial,
    apply: (state, event) => definition.apply(state as never, event as never),
    handle: (state, command, ctx) =>
      definition.handle(state as never, command as never, ctx as never) as
        | PlainEvent
        | readonly PlainEvent[]
        | Rejection,
    guarded: definition.creates.length > 0,
    rejections: new Set(definition.rejections),
    snapshot: definition.snapshot,
  };
}

/** Checks one command of an aggregate or service. */
export function commandModel(definition: Contract, type: string, aggregatePlace: string): CommandModel {
  checkName('command', type, aggregatePlace);
  const place = `${aggregatePlace}, command "${type}"`;
  const schema = definition.commands[type];
  if (schema === undefined) throw invalid(place, 'has no schema. Give it one, `z.object({})` when it takes no input.');
  const input = fieldsOf(checkInput(schema, place));
  const options = Object.hasOwn(definition.fields, type) ? Object.entries(definition.fields[type] ?? {}) : [];
  for (const [field] of options) {
    if (input?.has(field) === true) continue;
    throw invalid(place, `\`fields\` names "${field}", which its input does not have. Name a top-level field of it.`);
  }
  const unstored = options.filter(([, option]) => option?.store === false).map(([field]) => field);
  return { type, schema, creates: definition.creates.includes(type), unstored };
}

function checkRejections(codes: readonly unknown[], place: string): void {
  for (const code of codes) {
    if (typeof code !== 'string' || code === '') {
      throw invalid(place, `\`rejections\` holds ${String(code) || "''"}. Use codes like 'INSUFFICIENT_FUNDS'.`);
    }
    if (code !== 'IDEMPOTENCY_CONFLICT') continue;
    throw invalid(place, `rejection ${code} belongs to the platform, and senders act on it. Choose another code.`);
  }
}

function checkKnown(
  names: readonly string[],
  declared: ReadonlyMap<string, unknown>,
  list: string,
  place: string,
): void {
  const unknown = names.find((name) => !declared.has(name));
  if (unknown === undefined) return;
  throw invalid(place, `\`${list}\` names "${unknown}", which is not declared. Declare it or correct the name.`);
}

function checkHandlers(
  handlers: readonly string[],
  declared: ReadonlyMap<string, unknown>,
  map: 'evolve' | 'decide',
  kind: string,
  place: string,
): void {
  for (const type of declared.keys()) {
    if (handlers.includes(type)) continue;
    throw invalid(place, `${kind} "${type}" has no handler. Add the function \`${map}.${type}\`.`);
  }
  checkKnown(handlers, declared, map, place);
}
