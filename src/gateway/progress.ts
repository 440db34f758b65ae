import type { Socket } from 'node:net';

/** How far a connection's peer has come. */
export interface Progress {
  /** Bytes of the writes that are done. */
  readonly writtenByteCount: number;
  /** What the system has not yet accepted of the write in flight. */
  readonly leftByteCount: number;
}

/**
 * The public counters move only when a whole write is done, and one write carries all that waited: 16 MB and more. Node's
 * own socket timeouts see a write move by `writeQueueSize`, which has no public name; they are no use here, because what
 * the peer sends puts them off too.
 */
export function progressOf(
  wire: Socket & { readonly _handle?: { readonly writeQueueSize?: number } | null },
): Progress {
  return {
    writtenByteCount: wire.bytesWritten - wire.writableLength,
    leftByteCount: wire._handle?.writeQueueSize ?? 0,
  };
}

export const stoodStill = (before: Progress, now: Progress): boolean =>
  now.writtenByteCount === before.writtenByteCount && now.leftByteCount === before.leftByteCount;
