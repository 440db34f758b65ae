import { baggageProblem } from '../../define/baggage.ts';
import type { EventMeta } from '../../define/event.ts';
import type { Issue } from '../../define/schema.ts';
import { idProblem } from '../../define/stream-key.ts';

export { baggageProblem } from '../../define/baggage.ts';

const NOTHING: Partial<EventMeta> = {};

/** Everything that the caller said travels on; who says nothing opens a flow of its own, named by the command. */
export function metaOf(given: Partial<EventMeta> | undefined, commandId: string, tenant: string): EventMeta {
  const { correlationId, causationId, actor, traceparent, client, depth, baggage } = given ?? NOTHING;
  return {
    correlationId: correlationId ?? commandId,
    causationId: causationId ?? null,
    actor: actor ?? null,
    tenant,
    traceparent: traceparent ?? null,
    client: client ?? null,
    ...(depth === undefined || depth === 0 ? {} : { depth }),
    ...(baggage === undefined || baggage === '' ? {} : { baggage }),
  };
}

/** What is wrong with the metadata that a caller gives; it is stored with every event, so it must be small and well-formed. */
export function metaIssues(given: Partial<EventMeta> | undefined): readonly Issue[] {
  if (given === undefined) return [];
  const issues: Issue[] = [];
  for (const field of ['correlationId', 'causationId', 'actor'] as const) {
    const problem = given[field] == null ? undefined : idProblem(given[field]);
    if (problem !== undefined) issues.push({ path: ['meta', field], message: problem });
  }
  const problem = given.baggage === undefined || given.baggage === '' ? undefined : baggageProblem(given.baggage);
  if (problem !== undefined) issues.push({ path: ['meta', 'baggage'], message: problem });
  return issues;
}
