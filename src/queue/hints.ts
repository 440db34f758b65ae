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
  /** Changed documents, removed ones among them. */
  readonly ids: readonly string[];
}
export interface LogHintMessage {
  readonly kind: 'log';
  /** Newest position in the log. */
  readonly end: number;
}
export type HintMessage = ViewHintMessage | LogHintMessage;

/** Pub/sub between processes that work on one log. */
export interface HintChannel {
  /** Never waits, never throws; dropped when Redis is away. */
  send(message: HintMessage): void;
  /** Messages of other processes. A listener must not throw. Returns how to stop. */
  listen(listener: (message: HintMessage) => void): () => void;
  close(): Promise<void>;
}
