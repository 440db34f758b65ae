import { commandModel } from './aggregate-model.ts';
import { eventModel } from './event-model.ts';
import type { CommandModel, EventModel, ServiceModel } from './model.ts';
import { checkList, checkMap, checkName, invalid } from './refuse.ts';
import { retryPolicy } from './retry-policy.ts';
import type { AnyService } from './service.ts';

const TIMEOUT_DEFAULT_MS = 30_000;
const TIMEOUT_MAX_MS = 3_600_000;

/** Checks one service and makes it ready to run. Throws DEFINITION_INVALID or SCHEMA_NOT_DERIVABLE. */
export function serviceModel(definition: AnyService, place: string): ServiceModel {
  checkMap(definition.events, 'events', place);
  checkMap(definition.commands, 'commands', place);
  checkList(definition.rejections, 'rejections', place);
  const events = new Map<string, EventModel>();
  for (const [type, source] of Object.entries(definition.events)) {
    checkName('event', type, place);
    events.set(type, eventModel(definition.name, type, source, false, `${place}, event "${type}"`));
  }
  const commands = new Map<string, CommandModel>();
  for (const type of Object.keys(definition.commands)) {
    if (!definition.handlers.includes(type)) {
      throw invalid(place, `command "${type}" has no handler. Add the function \`handle.${type}\`.`);
    }
    commands.set(type, commandModel(definition, type, place));
  }
  const stray = definition.handlers.find((type) => !commands.has(type));
  if (stray !== undefined) {
    throw invalid(place, `\`handle\` names "${stray}", which is not declared. Declare it or correct the name.`);
  }
  const timeoutMs = definition.options.timeoutMs ?? TIMEOUT_DEFAULT_MS;
  if (!(timeoutMs >= 1 && timeoutMs <= TIMEOUT_MAX_MS)) {
    throw invalid(place, `\`timeoutMs\` must be a number of milliseconds from 1 to ${TIMEOUT_MAX_MS}.`);
  }
  const retry = retryPolicy(definition.options, place);
  return {
    name: definition.name,
    definition,
    commands,
    events,
    rejections: new Set(definition.rejections),
    retry,
    timeoutMs,
  };
}
