import { MillraceError } from '../../errors.ts';
import type { QueuedCommandDocument } from '../../store/documents.ts';
import { batchByKey } from '../concurrency/coalesce.ts';
import type { OpenStreams } from '../concurrency/open-streams.ts';
import type { PullSource } from '../concurrency/pull-stream.ts';
import type { CommandStatus } from '../contract/runtime.ts';
import { decodeToken, type Token } from '../log/token.ts';
import { type CommandStatusDeps, readByToken, statusOf } from './command-status.ts';
import { queuedCommandId } from './queued-command.ts';

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

/** Who watches looks so often; all looks of a moment are one read. */
const LOOK_MS = 100;
const FINAL: ReadonlySet<CommandStatus['status']> = new Set(['ACCEPTED', 'REJECTED', 'DEAD', 'CANCELLED']);

/**
 * Each state that a command passes, in order, those that it passed before among them: RECEIVED, RUNNING (again after each try that
 * failed), then ACCEPTED, REJECTED, DEAD or CANCELLED, and the stream ends. A command that was never queued has one. Throws
 * BAD_TOKEN, also for a command of which nothing is known (any more).
 */
export function createCommandWatch(deps: CommandWatchDeps) {
  const peek = batchByKey<string, string>(async (ids) => {
    const found = await deps.queued.find(ids);
    return new Map(found.map((command) => [command._id, placeOf(command)]));
  });
  const ticker = createTicker();
  return (token: string, signal: AbortSignal): AsyncIterableIterator<CommandStatus, undefined> => {
    const named = decodeToken(token, deps.logId);
    return deps.streams.open<CommandStatus>(signal, (wake, end) => {
      const watched = {
        named,
        id: queuedCommandId(named.stream, named.commandId),
        peek,
        wake,
        end,
      };
      return commandSource(deps, watched, ticker);
    });
  };
}

/** Wakes all who watch in one turn of the event loop; runs while somebody does. */
function createTicker() {
  const listeners = new Set<() => void>();
  let timer: NodeJS.Timeout | undefined;
  const tick = (): void => {
    for (const listener of listeners) listener();
  };
  return {
    add(listener: () => void): void {
      listeners.add(listener);
      timer ??= setInterval(tick, LOOK_MS);
    },
    remove(listener: () => void): void {
      listeners.delete(listener);
      if (listeners.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    },
  };
}

interface Watched {
  readonly named: Token;
  readonly id: string;
  /** Where its record is now; cheap. */
  readonly peek: (id: string) => Promise<string | undefined>;
  readonly wake: () => void;
  readonly end: () => void;
}

/** What is worth telling of a command that is not settled. */
const placeOf = ({ state, attempts, delivery }: QueuedCommandDocument): string => `${state}/${delivery}/${attempts}`;

function commandSource(
  deps: CommandWatchDeps,
  { named, id, peek, wake, end }: Watched,
  ticker: ReturnType<typeof createTicker>,
): PullSource<CommandStatus> {
  const ready: CommandStatus[] = [];
  const stopping = new AbortController();
  let place: string | undefined;
  let told: CommandStatus['status'] | undefined;
  let followed: AsyncIterator<CommandStatus> | undefined;
  const unlisten = deps.onProgress?.((command) => {
    if (command === id) wake();
  });
  ticker.add(wake);
  const over = (): boolean => told !== undefined && FINAL.has(told);

  const look = async (): Promise<void> => {
    if (told !== undefined && place === (await peek(id))) return;
    const records = await readByToken(deps, named);
    const now = statusOf(deps, named.stream, named.commandId, records);
    if (now === undefined) throw unknown();
    const passed = records.queued === undefined ? [] : statesBefore(now, records.queued);
    const last = passed.findIndex(({ status }) => status === told);
    ready.push(...(told === undefined || last >= 0 ? passed.slice(last + 1) : []), now);
    told = now.status;
    place = records.queued && placeOf(records.queued);
    if (!over()) return;
    ticker.remove(wake);
    followed = deps.follow?.(now, stopping.signal)[Symbol.asyncIterator]();
  };
  return {
    async take() {
      if (ready.length === 0 && !over()) await look();
      if (ready.length > 0) return ready.shift();
      if (!over()) return undefined;
      const next = await followed?.next();
      if (next !== undefined && next.done !== true) return next.value;
      end();
      return undefined;
    },
    stop() {
      ticker.remove(wake);
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
