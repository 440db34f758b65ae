import { MillraceError } from '../errors.ts';
import type { EventDefinition, EventSource, Upcast } from './event.ts';
import type { EventModel } from './model.ts';
import { checkMap, checkVersion, invalid } from './refuse.ts';
import { describeIssues, parse } from './schema.ts';
import { checkStandard, checkStored } from './schema-rules.ts';

const isEventDefinition = (source: EventSource): source is EventDefinition =>
  'kind' in source && source.kind === 'event' && 'upcast' in source;

/** Checks one event of an aggregate and makes it ready. `place` names the event. */
export function eventModel(
  aggregate: string,
  type: string,
  source: EventSource,
  closes: boolean,
  place: string,
): EventModel {
  if (typeof source !== 'object' && typeof source !== 'function') checkStandard(source, place);
  const { schema, version, upcast }: Omit<EventDefinition, 'kind'> = isEventDefinition(source)
    ? source
    : { schema: source, version: 1, upcast: {} };
  checkVersion(version, place);
  checkStored(schema, place);
  const steps = upcastSteps(version, upcast, place);

  const decode = (schemaVersion: number, data: unknown): unknown => {
    if (!Number.isInteger(schemaVersion) || schemaVersion > version || schemaVersion < 1) {
      throw new MillraceError(
        'UNKNOWN_EVENT',
        `Event "${type}" is stored in version ${schemaVersion}; this process knows it up to version ${version}. Deploy the newer code here.`,
      );
    }
    let current = data;
    for (let from = schemaVersion; from < version; from++) current = steps[from - 1]?.(current);
    const parsed = parse(schema, current);
    if (parsed.ok) return parsed.value;
    throw new MillraceError(
      'EVENT_INVALID',
      `Event "${type}" (stored version ${schemaVersion}) does not parse as version ${version}: ${describeIssues(parsed.issues)}. Mend its upcast or its schema.`,
    );
  };
  return { type, aggregate, schema, version, closes, decode };
}

function upcastSteps(
  version: number,
  upcast: Readonly<Record<number, Upcast>>,
  place: string,
): readonly ((old: unknown) => unknown)[] {
  checkMap(upcast, 'upcast', place);
  const steps: ((old: unknown) => unknown)[] = [];
  for (let from = 1; from < version; from++) {
    const step = Object.hasOwn(upcast, from) ? upcast[from] : undefined;
    if (typeof step !== 'function') {
      throw invalid(
        place,
        `there is no upcast from version ${from} to ${from + 1}. Add \`upcast: { ${from}: (old) => … }\`.`,
      );
    }
    steps.push((old) => step(old as never));
  }
  const surplus = Object.keys(upcast).find((from) => !(Number(from) in steps) && !(Number(from) - 1 in steps));
  if (surplus !== undefined) {
    throw invalid(
      place,
      `upcast ${surplus} leads nowhere, for the version is ${version}. Raise the version or remove it.`,
    );
  }
  return steps;
}
