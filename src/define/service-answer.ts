import { MillraceError } from '../errors.ts';
import type { DecidedEvent, Decision } from './decide.ts';
import type { ServiceModel } from './model.ts';
import { describeIssues, parse } from './schema.ts';

/**
 * What a service's handler (or `onFailed`) answered, checked: declared events whose data parses, or a declared refusal. Throws
 * SERVICE_ANSWER_INVALID; nothing is appended then.
 */
export function checkServiceAnswer(model: ServiceModel, place: string, answer: unknown): Decision {
  if (isRejection(answer)) {
    if (model.rejections.has(String(answer.rejected))) {
      return { kind: 'rejected', code: String(answer.rejected), reason: String(answer.reason) };
    }
    const declared = [...model.rejections].join(', ') || 'none';
    throw invalid(
      model,
      place,
      `rejects with "${String(answer.rejected)}", which is not in \`rejections\` (${declared})`,
    );
  }
  const answers: readonly unknown[] = Array.isArray(answer) ? answer : [answer];
  return { kind: 'events', events: answers.map((event) => checkEvent(model, place, event)) };
}

function checkEvent(model: ServiceModel, place: string, event: unknown): DecidedEvent {
  if (typeof event !== 'object' || event === null || !('type' in event) || typeof event.type !== 'string') {
    const what = event === null || typeof event !== 'object' ? String(event) : 'an object without `type`';
    throw invalid(
      model,
      place,
      `answers with ${what}; return an event { type, data }, an array of events or reject(…)`,
    );
  }
  const known = model.events.get(event.type);
  if (known === undefined) throw invalid(model, place, `answers with event "${event.type}", which is not declared`);
  const parsed = parse(known.schema, 'data' in event ? event.data : undefined);
  if (parsed.ok) return { type: event.type, schemaVersion: known.version, data: parsed.value };
  throw invalid(
    model,
    place,
    `answers with event "${event.type}", which does not parse: ${describeIssues(parsed.issues)}`,
  );
}

const isRejection = (answer: unknown): answer is { readonly rejected: unknown; readonly reason: unknown } =>
  typeof answer === 'object' && answer !== null && 'rejected' in answer && 'reason' in answer;

const invalid = (model: ServiceModel, place: string, what: string): MillraceError =>
  new MillraceError(
    'SERVICE_ANSWER_INVALID',
    `Service "${model.name}", ${place}: ${what}. Nothing was appended; mend the handler and retry the command.`,
  );
