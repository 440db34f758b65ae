import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import type { Model } from '../../define/model.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import { atMost } from '../../queue/at-most.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { EventPages } from '../../store/event-pages.ts';
import { inTime } from '../../store/in-time.ts';
import type { EventAt, PartitionState } from '../../store/view-documents.ts';
import { wakeable } from '../concurrency/wakeable.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import type { LogReader } from '../log/log-reader.ts';
import { routeEvent } from '../log/route-event.ts';
import { decodeToken, type Token, UNDECIDED } from '../log/token.ts';
import { Overdue } from './overdue.ts';
import { createPlacements } from './placements.ts';
import type { ViewProgress } from './view-progress.ts';

/** Longest wait of one read. */
export const AT_LEAST_MAX_MS = 60_000;
/** Nobody has to wake a waiter: it looks by itself, at first often. */
const POLL_MIN_MS = 20;
const POLL_MAX_MS = 250;
/** A look that is under way at the deadline has this long to end: a wait of 0 ms is one look, not none. */
const LOOK_MIN_MS = 1_000;
const RETRY_AFTER_MS = { PLACING: 100, LAGGING: 250, PARKED: 5_000 } as const;
type Reason = keyof typeof RETRY_AFTER_MS;

interface Need {
  /** Position that each of these partitions has to reach. */
  readonly partitions: ReadonlyMap<number, number>;
  /** What must have been handled by then: events that are not parked. */
  readonly events: readonly (EventAt & { readonly partition: number })[];
}
const NOTHING: Need = { partitions: new Map(), events: [] };
/** A need that is not met yet. */
interface Unmet extends Need {
  /** Time alone will not do it: an event of it waits behind a failed one, or a partition of it stands still or is paused. */
  readonly isHeld: boolean;
}

export interface AtLeast {
  /** Whether `wait` would resolve at once, as far as this process knows. */
  satisfied(progress: ViewProgress, token: string): boolean;
  /**
   * Resolves when the view has applied every event of the token's command that it handles. Throws BAD_TOKEN; VIEW_BEHIND
   * at `deadlineMs` (epoch), up to two seconds later while MongoDB is silent, with `reason` PLACING (not in the log yet),
   * LAGGING or PARKED (a handler failed for one of its keys) and `retryAfterMs`; SHUTTING_DOWN. After `signal` aborts it asks
   * nothing more and throws VIEW_BEHIND.
   */
  wait(progress: ViewProgress, token: string, deadlineMs: number, signal?: AbortSignal): Promise<void>;
  /**
   * Whether the view comes to that by `deadlineMs`; false as soon as it is seen that it will not by itself: an event waits behind
   * a failed one, or the projector is paused. Throws BAD_TOKEN and what reads of MongoDB throw.
   */
  reached(progress: ViewProgress, token: string, deadlineMs: number): Promise<boolean>;
  /**
   * The answer of a read that followed `wait`. Throws VIEW_BEHIND soon after `deadlineMs` when MongoDB is cut off; a read
   * that only takes long is waited for.
   */
  answer<T>(progress: ViewProgress, read: Promise<T>, deadlineMs: number): Promise<T>;
  close(): void;
}

export interface AtLeastDeps {
  readonly model: Model;
  readonly logId: string;
  readonly events: EventPages;
  readonly logReader: Pick<LogReader, 'onAdvance'>;
  readonly decode: DecodeOnce;
  /** What came of a queued command; absent where none are queued. */
  readonly decided?: FindDecided | undefined;
}
/** Which events a command caused, none when it was refused or cancelled; undefined while nobody knows. */
export type FindDecided = (
  stream: string,
  commandId: string,
) => Promise<Pick<Token, 'firstVersion' | 'eventCount'> | undefined>;

export function createAtLeast(deps: AtLeastDeps): AtLeast {
  const closing = new AbortController();
  // Every read that waits listens.
  setMaxListeners(0, closing.signal);
  const needs = needFinder(deps);

  const look = async (
    progress: ViewProgress,
    token: string,
    ask: boolean,
  ): Promise<Unmet | 'REACHED' | 'PLACING' | 'LAGGING'> => {
    const need = await needs.find(progress, token);
    if (typeof need === 'string') return need;
    const states = ask && !reached(progress, need) ? await progress.refresh() : [];
    if (!reached(progress, need)) {
      return {
        ...need,
        isHeld: standStill(states, need) || lagging(states, need).some(({ paused }) => paused === true),
      };
    }
    return (await parked(progress, need)) ? { ...need, isHeld: true } : 'REACHED';
  };
  const satisfied: AtLeast['satisfied'] = (progress, token) => {
    const kept = needs.kept(progress, token);
    return kept !== undefined && reached(progress, kept) && mayBeParked(progress, kept).length === 0;
  };
  const waiting = async (
    progress: ViewProgress,
    token: string,
    deadlineMs: number,
    { signal, untilHeld = false }: { readonly signal?: AbortSignal | undefined; readonly untilHeld?: boolean },
  ): Promise<void> => {
    if (satisfied(progress, token)) return;
    const waker = wakeable(closing.signal);
    const stops = [deps.logReader.onAdvance(waker.wake), progress.onChange(waker.wake)];
    try {
      let looked: 'woken' | 'time' = 'time';
      for (let pollMs = POLL_MIN_MS; ; pollMs = Math.min(POLL_MAX_MS, pollMs * 1.5)) {
        // The poll is short enough to see it late; a listener for each of a request's many reads would cost more.
        if (signal?.aborted === true) throw behind(progress, 'LAGGING');
        if (closing.signal.aborted) throw new MillraceError('SHUTTING_DOWN', 'This process is stopping. Ask again.');
        // A hint says all it knows; only when time has passed the partitions themselves are asked.
        const found = await unlessCutOff(look(progress, token, looked === 'time'), deadlineMs);
        if (found === 'REACHED') return;
        if (untilHeld && typeof found !== 'string' && found.isHeld) throw behind(progress, 'PARKED');
        const remainingMs = deadlineMs - Date.now();
        if (remainingMs <= 0) {
          const reason = await unlessCutOff(reasonOf(progress, found), deadlineMs);
          if (reason === 'REACHED') return;
          throw behind(progress, reason);
        }
        looked = await waker.sleep(Math.min(pollMs, remainingMs));
      }
    } finally {
      for (const stop of stops) stop();
    }
  };
  const wait: AtLeast['wait'] = (progress, token, deadlineMs, signal) =>
    waiting(progress, token, deadlineMs, { signal });
  const untilReached: AtLeast['reached'] = async (progress, token, deadlineMs) => {
    try {
      await waiting(progress, token, deadlineMs, { untilHeld: true });
      return true;
    } catch (error) {
      if (isMillraceError(error, 'VIEW_BEHIND') || isMillraceError(error, 'SHUTTING_DOWN')) return false;
      throw error;
    }
  };
  const overdue = new Overdue();
  const answer = <T>(progress: ViewProgress, read: Promise<T>, deadlineMs: number): Promise<T> =>
    new Promise((resolve, reject) => {
      const ended = overdue.watch(Date.now() + lookMs(deadlineMs), () => {
        // The read is slow, or MongoDB is cut off: then a small read has no answer either.
        void atMost(LOOK_MIN_MS, progress.refresh()).then((answered) => {
          if (!answered) reject(behind(progress, 'LAGGING'));
        });
      });
      read.then(
        (found) => {
          ended();
          resolve(found);
        },
        (error: unknown) => {
          ended();
          reject(error);
        },
      );
    });
  return { satisfied, wait, reached: untilReached, answer, close: () => closing.abort() };
}

const lookMs = (deadlineMs: number): number => Math.max(LOOK_MIN_MS, deadlineMs - Date.now());

/** LAGGING instead of an answer when MongoDB is behind what this process was told of, or silent beyond the deadline. */
async function unlessCutOff<T>(look: Promise<T>, deadlineMs: number): Promise<T | 'LAGGING'> {
  try {
    return await inTime(look, lookMs(deadlineMs), 'a look at how far a view has come');
  } catch (error) {
    if (isMillraceError(error, 'MONGODB_UNREACHABLE') || isMillraceError(error, 'VIEW_BEHIND')) return 'LAGGING';
    throw error;
  }
}

interface NeedFinder {
  /** What `find` found before. */
  kept(progress: ViewProgress, token: string): Need | undefined;
  find(progress: ViewProgress, token: string): Promise<Need | 'PLACING' | 'LAGGING'>;
}

/** What a view needs for a token. It never changes once the events are in the log, so it is kept. */
function needFinder(deps: AtLeastDeps): NeedFinder {
  const placed = createPlacements(deps.events);
  const known = new LRUCache<string, Map<ViewProgress, Need>>({ max: 5_000 });
  const kept: NeedFinder['kept'] = (progress, text) => known.get(text)?.get(progress);
  const find: NeedFinder['find'] = async (progress, text) => {
    const before = kept(progress, text);
    if (before !== undefined) return before;
    const token = decodeToken(text, deps.logId);
    const { stream, commandId } = token;
    const range = token.firstVersion === UNDECIDED.firstVersion ? await deps.decided?.(stream, commandId) : token;
    if (range === undefined) return 'PLACING';
    const { firstVersion, eventCount } = range;
    if (firstVersion === null) return NOTHING;
    const documents = await placed({ stream, commandId, first: firstVersion, count: eventCount });
    if (documents === undefined) return 'PLACING';
    // Until a worker has created this generation nobody has applied anything.
    const count = await progress.partitionCount();
    if (count === undefined) return 'LAGGING';
    const need = computeNeed(deps, progress, documents, count);
    known.set(text, (known.get(text) ?? new Map()).set(progress, need));
    return need;
  };
  return { kept, find };
}

function computeNeed(
  { model, decode }: AtLeastDeps,
  { consumer, exact }: ViewProgress,
  documents: readonly LogDocument[],
  partitionCount: number,
): Need {
  const partitions = new Map<number, number>();
  const events: Need['events'][number][] = [];
  for (const document of documents) {
    const route = routeEvent(model, consumer, partitionCount, decode, document);
    if (!exact) for (const partition of Array(partitionCount).keys()) partitions.set(partition, document._id);
    if (route.kind === 'skip') continue;
    const targets = route.kind === 'run' ? route.targets : route.all ? [] : [route.target];
    for (const { key, partition } of targets) events.push({ key, partition, position: document._id });
    // This process cannot read the event or tell its keys (newer code may). All partitions pass it in the end, so waiting
    // for all of them is never wrong.
    const passing = route.kind === 'stuck' ? Array(partitionCount).keys() : targets.map(({ partition }) => partition);
    for (const partition of passing) partitions.set(partition, Math.max(document._id, partitions.get(partition) ?? 0));
  }
  return { partitions, events };
}

function reached(progress: ViewProgress, { partitions }: Need): boolean {
  for (const [partition, position] of partitions) if (progress.checkpoint(partition) < position) return false;
  return true;
}

/** Events in partitions where some key is blocked; it may be another. */
const mayBeParked = (progress: ViewProgress, { events }: Need): Need['events'] =>
  events.filter(({ partition }) => progress.hasBlocked(partition));

async function parked(progress: ViewProgress, need: Need): Promise<boolean> {
  const suspects = mayBeParked(progress, need);
  return suspects.length > 0 && progress.isParked(suspects);
}

/** Why the wait failed, after a last look; REACHED when that look finds the need reached. */
async function reasonOf(progress: ViewProgress, need: Need | 'PLACING' | 'LAGGING'): Promise<Reason | 'REACHED'> {
  if (typeof need === 'string') return need;
  const states = await progress.refresh();
  if (await parked(progress, need)) return 'PARKED';
  if (reached(progress, need)) return 'REACHED';
  return standStill(states, need) ? 'PARKED' : 'LAGGING';
}

/** Partitions that have not come to what is needed of them. */
const lagging = (states: readonly PartitionState[], { partitions }: Need): readonly PartitionState[] =>
  states.filter(({ partition, checkpoint }) => checkpoint < (partitions.get(partition) ?? 0));

const standStill = (states: readonly PartitionState[], need: Need): boolean =>
  lagging(states, need).some(({ failure }) => failure !== undefined);

const causes: Readonly<Record<Reason, string>> = {
  PLACING: 'the events of that command are not placed in the log yet, or it waits in its queue',
  LAGGING: 'the view has not applied them yet',
  PARKED: 'a handler of the view failed, and their key waits until that is mended',
};
function behind({ consumer }: ViewProgress, reason: Reason): MillraceError {
  const view = consumer.projector.into.name;
  const retryAfterMs = RETRY_AFTER_MS[reason];
  return new MillraceError(
    'VIEW_BEHIND',
    `View "${view}" is behind: ${causes[reason]}. Ask again in ${retryAfterMs} ms.`,
    {
      details: { view, reason, retryAfterMs },
    },
  );
}
