import { crashPoint } from '../../crash-points.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import type { CommandOutcome } from '../contract/runtime.ts';
import type { Arrived } from './arrive-command.ts';

const READ_AGAIN_MS = 50;

/** What a client may be told about a command that took too long. */
export interface Progress {
  /** Something may have been written. */
  sent: boolean;
  /** The client was answered that time ran out; the clock may say otherwise, since it can be set back. */
  over: boolean;
}

/** Answers at the deadline whatever hangs; the work goes on in its stream's queue, so that order holds. */
export async function withDeadline(
  running: Promise<CommandOutcome>,
  arrived: Arrived,
  progress: Progress,
): Promise<CommandOutcome> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const giveUp = (): void => {
      progress.over = true;
      reject(timeIsUp(arrived, progress));
    };
    timer = setTimeout(giveUp, Math.max(0, arrived.deadline - Date.now()) + 50);
  });
  try {
    const outcome = await Promise.race([running, late]);
    crashPoint('before-reply');
    return outcome;
  } finally {
    clearTimeout(timer);
  }
}

/** TOO_BUSY (nothing was written) or OUTCOME_UNKNOWN. */
export function timeIsUp(arrived: Arrived, progress: Progress, cause?: unknown): MillraceError {
  const details = { commandId: arrived.commandId };
  if (!progress.sent) {
    return new MillraceError(
      'TOO_BUSY',
      'The command could not be handled in time. Nothing was written; repeat it later with the same commandId.',
      { cause, details },
    );
  }
  return new MillraceError(
    'OUTCOME_UNKNOWN',
    'Whether the command took effect is not known. Repeat it with the same commandId: it takes effect at most once.',
    { cause, details },
  );
}

/** Before anything is written. Throws after the deadline: the client is told then that nothing was. */
export function beginSending(arrived: Arrived, progress: Progress): void {
  if (progress.over || Date.now() >= arrived.deadline) throw timeIsUp(arrived, progress);
  progress.sent = true;
}

/** Reads again, until the deadline, while MongoDB is on its way down, up or to another primary. */
export async function untilRead<T>(arrived: Arrived, progress: Progress, read: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await read();
    } catch (error) {
      if (!isMillraceError(error, 'MONGODB_UNREACHABLE')) throw error;
      if (Date.now() >= arrived.deadline) throw timeIsUp(arrived, progress, error);
      await pause(READ_AGAIN_MS);
    }
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
