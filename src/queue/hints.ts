import type { RedisConnections } from './redis.ts';

/**
 * What hints say over Redis: "there is news", identifiers and counters only, never payloads. Not here: any truth; a lost
 * hint costs latency only, and readers find lost ones by revision.
 */
export interface ViewHintMessage {
  readonly kind: 'view';
  readonly view: string;
  readonly generation: number;
  readonly partition: number;
  /** Partition revision of the transaction; a jump by more than one means that a hint was lost. */
  readonly revision: number;
  readonly checkpoint: number;
  /** Keys of the partition that wait behind a dead letter. Absent from processes with older code. */
  readonly blockedCount?: number | undefined;
  /** When MongoDB had it: reads after this time see it. Absent from processes with older code. */
  readonly time?: string | undefined;
  /** Changed documents, removed ones among them. */
  readonly ids: readonly string[];
}
export interface LogHintMessage {
  readonly kind: 'log';
  /** Newest position in the log. */
  readonly end: number;
}
/** Reads of a view are to go over to another generation: look which. */
export interface SwapHintMessage {
  readonly kind: 'swap';
  readonly view: string;
}
export type HintMessage = ViewHintMessage | LogHintMessage | SwapHintMessage;

/** Pub/sub between processes that work on one log. */
export interface HintChannel {
  /** Never waits, never throws; dropped when Redis is away. */
  send(message: HintMessage): void;
  /** Messages of other processes. A listener must not throw. Returns how to stop. */
  listen(listener: (message: HintMessage) => void): () => void;
  close(): Promise<void>;
}

/** Messages of one tick go out together; a batch of view hints is one PUBLISH. */
export function createHintChannel(
  redis: Pick<RedisConnections, 'producer' | 'patient' | 'available'>,
  options: { readonly prefix: string; readonly logId: string; readonly instanceId: string },
): HintChannel {
  const channel = `${options.prefix}:${options.logId}:hints`;
  const listeners = new Set<(message: HintMessage) => void>();
  const subscriber = redis.patient();
  subscriber.on('message', (_channel, payload) => {
    for (const message of readMessages(payload, options.instanceId)) {
      for (const listener of listeners) listener(message);
    }
  });
  // After a reconnection ioredis subscribes again by itself.
  subscriber.subscribe(channel).catch(() => undefined);

  let waiting: HintMessage[] = [];
  const flush = (): void => {
    const messages = waiting;
    waiting = [];
    if (!redis.available()) return;
    redis.producer.publish(channel, JSON.stringify([options.instanceId, ...messages])).catch(() => undefined);
  };
  return {
    send(message) {
      if (waiting.push(message) === 1) setImmediate(flush);
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      listeners.clear();
      subscriber.disconnect();
    },
  };
}

/** Own messages and whatever is not a hint are dropped: a channel is open to anybody who reaches Redis. */
function readMessages(payload: string, instanceId: string): readonly HintMessage[] {
  try {
    const parsed: unknown = JSON.parse(payload);
    if (!Array.isArray(parsed) || parsed[0] === instanceId) return [];
    return parsed.slice(1).filter(isHintMessage);
  } catch {
    return [];
  }
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;

function isHintMessage(value: unknown): value is HintMessage {
  if (typeof value !== 'object' || value === null || !('kind' in value)) return false;
  if (value.kind === 'log') return 'end' in value && isCount(value.end);
  if (value.kind === 'swap') return 'view' in value && typeof value.view === 'string';
  if (value.kind !== 'view') return false;
  const hint: Partial<Record<keyof ViewHintMessage, unknown>> = value;
  return (
    typeof hint.view === 'string' &&
    [hint.generation, hint.partition, hint.revision, hint.checkpoint].every(isCount) &&
    (hint.blockedCount === undefined || isCount(hint.blockedCount)) &&
    (hint.time === undefined || (typeof hint.time === 'string' && /^\d{1,20}$/.test(hint.time))) &&
    Array.isArray(hint.ids) &&
    hint.ids.every((id) => typeof id === 'string')
  );
}
