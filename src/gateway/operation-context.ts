import type { IncomingHttpHeaders } from 'node:http';
import { baggageProblem } from '../engine/commands/caller-meta.ts';
import { newId } from '../engine/concurrency/new-id.ts';
import type { Runtime } from '../engine/contract/runtime.ts';
import type { GatewayContext } from './context.ts';

const sane = (value: unknown, pattern: RegExp): string | null =>
  typeof value === 'string' && pattern.test(value) ? value : null;

const correlationPattern = /^[\w.:-]{1,128}$/;
const traceparentPattern = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;
const clientPattern = /^[\x20-\x7e]{1,64}$/;

/** The context of one operation. What a client says of itself is taken when it is well-formed, and ignored otherwise. */
export function operationContext(
  runtime: Runtime,
  said: {
    readonly correlationId: unknown;
    readonly traceparent: unknown;
    readonly client: unknown;
    readonly baggage: unknown;
    readonly lastEventId?: unknown;
  },
  signal: AbortSignal,
): GatewayContext {
  return {
    runtime,
    correlationId: sane(said.correlationId, correlationPattern) ?? newId(),
    traceparent: sane(said.traceparent, traceparentPattern),
    client: sane(said.client, clientPattern),
    baggage: typeof said.baggage === 'string' && baggageProblem(said.baggage) === undefined ? said.baggage : null,
    lastEventId: typeof said.lastEventId === 'string' && said.lastEventId !== '' ? said.lastEventId : undefined,
    signal,
  };
}

/** What an HTTP request says of itself. */
export const saidByHeaders = (headers: IncomingHttpHeaders) => ({
  correlationId: headers['x-correlation-id'],
  traceparent: headers.traceparent,
  client: headers['x-client-name'],
  baggage: headers.baggage,
  lastEventId: headers['last-event-id'],
});
