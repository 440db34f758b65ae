import type { Runtime } from '../engine/contract/runtime.ts';

/** What every resolver gets as its context, on every door (HTTP, SSE, WebSocket). */
export interface GatewayContext {
  readonly runtime: Runtime;
  /** Of this operation: what the client sent (`x-correlation-id`) or a new UUIDv7. Every event it causes carries it. */
  readonly correlationId: string;
  /** W3C trace context that came with the operation, or null. */
  readonly traceparent: string | null;
  /** What the client calls itself (`x-client-name`), or null. */
  readonly client: string | null;
  /** What else the client said along the way (W3C `baggage`), or null. */
  readonly baggage: string | null;
  /** Cursor that a broken event stream (SSE) goes on from, by its `Last-Event-ID`; it wins over `after`. */
  readonly lastEventId?: string | undefined;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
}
