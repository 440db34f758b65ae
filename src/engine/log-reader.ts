import type { LogDocument } from '../store/documents.ts';

/**
 * One reader of the log a process: consumers and event subscriptions read through it, so an event is fetched once,
 * from memory when this process just placed it.
 */
export interface LogReader {
  /** Newest position that this process knows to be in the log (majority). */
  readonly end: number;
  /** Events after `after`, in order, without gaps, at most `limit`; [] at the end. */
  read(after: number, limit: number): Promise<readonly LogDocument[]>;
  /** Events that this process just placed, in order. */
  offer(placed: readonly LogDocument[]): void;
  /** There are events up to `end`, placed by somebody. */
  advance(end: number): void;
  /** Called after `end` grew. Returns how to stop. */
  onAdvance(listener: (end: number) => void): () => void;
}
