import { MillraceError } from '../errors.ts';
import type { QueuedCommandDocument } from '../store/documents.ts';
import { shareByKey } from './coalesce.ts';
import { type CommandRecords, type CommandStatusDeps, readCommand, statusOf } from './command-status.ts';
import type { CommandStatus } from './contract.ts';
import type { OpenStreams } from './open-streams.ts';
import type { PullSource } from './pull-stream.ts';
import { queuedCommandId } from './queued-command.ts';
import { decodeToken } from './token.ts';

export interface CommandWatchDeps extends CommandStatusDeps {
  readonly streams: OpenStreams;
  /** A command whose state this process has written; others are found by looking. Returns how to stop. */
  readonly onProgress?: ((listener: (command: string) => void) => () => void) | undefined;
  /**
   * What follows a state that is final for the command itself: how far its consumers are, until all have settled. Without it the
   * stream ends there.
   */
  readonly follow?: ((status: CommandStatus, signal: AbortSignal) => AsyncIterable<CommandStatus>) | undefined;
}

/** Who watches looks so often; all looks of one moment are one read. */
const LOOK_MS = 100;
const FINAL: ReadonlySet<CommandStatus['status']> = new Set(['ACCEPTED', 'REJECTED', 'DEAD', 'CANCELLED']);

/**
 * Each state that a command passes, in order, those that it passed before among them: RECEIVED, RUNNING, then ACCEPTED, REJECTED,
 * DEAD or CANCELLED, and the stream ends. A command that was never queued has one. Throws BAD_TOKEN, also for a command of which
 * nothing is known (any more).
 */
export function createCommandWatch(deps: CommandWatchDeps) {
  const share = shareByKey<CommandRecords>();
  const look = (stream: string, commandId: string): Promise<CommandRecords> =>
    share(queuedCommandId(stream, commandId), () => readCommand(deps, stream, commandId));
  return (token: string, signal: AbortSignal): AsyncIterableIterator<CommandStatus, undefined> => {
    const { stream, commandId } = decodeToken(token, deps.logId);
    const over = new AbortController();
    return deps.streams.open<CommandStatus>(AbortSignal.any([signal, over.signal]), (wake) =>
      commandSource(deps, { stream, commandId, read: () => look(stream, commandId) }, wake, () => over.abort()),
    );
  };
}

interface Watched {
  readonly stream: string;
  readonly commandId: string;
  readonly read: () => Promise<CommandRecords>;
}

function commandSource(
  deps: CommandWatchDeps,
  { stream, commandId, read }: Watched,
  wake: () => void,
  end: () => void,
): PullSource<CommandStatus> {
  const ready: CommandStatus[] = [];
  const stopping = new AbortController();
  let told: CommandStatus['status'] | undefined;
  let followed: AsyncIterator<CommandStatus> | undefined;
  const own = queuedCommandId(stream, commandId);
  const unlisten = deps.onProgress?.((command) => {
    if (command === own) wake();
  });
  const timer = setInterval(wake, LOOK_MS);

  const lookOnce = async (): Promise<void> => {
    const records = await read();
    const now = statusOf(deps, stream, commandId, records);
    if (now === undefined) throw unknown();
    if (now.status === told) return;
    const passed = records.queued === undefined ? [] : statesBefore(now, records.queued);
    const from = passed.findIndex(({ status }) => status === told) + 1;
    ready.push(...passed.slice(from), now);
    told = now.status;
    if (FINAL.has(now.status)) clearInterval(timer);
    if (FINAL.has(now.status) && deps.follow !== undefined) {
      followed = deps.follow(now, stopping.signal)[Symbol.asyncIterator]();
    }
  };
  return {
    async take() {
      if (ready.length === 0 && (told === undefined || !FINAL.has(told))) await lookOnce();
      if (ready.length > 0) return ready.shift();
      if (told === undefined || !FINAL.has(told)) return undefined;
      const next = await followed?.next();
      if (next !== undefined && next.done !== true) return next.value;
      end();
      return undefined;
    },
    stop() {
      clearInterval(timer);
      unlisten?.();
      stopping.abort();
      void followed?.return?.();
    },
  };
}

/** A subscriber gets the same sequence however late it comes. */
function statesBefore(now: CommandStatus, queued: QueuedCommandDocument): readonly CommandStatus[] {
  const { receivedAt, startedAt } = queued;
  const before = { ...now, receipt: null, error: null, attempts: 0, nextAttemptAt: null };
  const received: CommandStatus = { ...before, status: 'RECEIVED', updatedAt: receivedAt };
  if (now.status === 'RECEIVED') return [];
  if (now.status === 'RUNNING' || startedAt === undefined) return [received];
  return [received, { ...before, status: 'RUNNING', updatedAt: startedAt }];
}

const unknown = (): MillraceError =>
  new MillraceError(
    'BAD_TOKEN',
    'Nothing is known of the command of this token. What became of a queued command is kept for a week, of a refused one for a day.',
  );
