import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import type { ConsumerModel, Model } from '../define/model.ts';
import { MillraceError } from '../errors.ts';
import type { LogDocument } from '../store/documents.ts';
import type { EventPages } from '../store/event-pages.ts';
import type { DecodeOnce } from './decode-once.ts';
import type { LogReader } from './log-reader.ts';
import { createPlacements } from './placements.ts';
import { routeEvent } from './route-event.ts';
import { decodeToken } from './token.ts';
import type { ViewProgress } from './view-progress.ts';
import { wakeable } from './wakeable.ts';

/** Longest wait of one read. */
export const AT_LEAST_MAX_MS = 60_000;
/** Nobody has to wake a waiter: it looks by itself, at first often. */
const POLL_MIN_MS = 20;
const POLL_MAX_MS = 250;
const RETRY_AFTER_MS = { PLACING: 100, LAGGING: 250, PARKED: 5_000 } as const;
type Reason = keyof typeof RETRY_AFTER_MS;

/** Position that each of these partitions has to reach. */
type Need = ReadonlyMap<number, number>;
const NOTHING: Need = new Map();

export interface AtLeast {
  /**
   * Resolves when the view has applied every event of the token's command that it handles. Throws BAD_TOKEN; VIEW_BEHIND
   * at `deadlineMs` (epoch) with `reason` PLACING (not in the log yet), LAGGING or PARKED (a handler fails in that
   * partition) and `retryAfterMs`; SHUTTING_DOWN. After `signal` aborts it asks nothing more and throws VIEW_BEHIND.
   */
  wait(progress: ViewProgress, token: string, deadlineMs: number, signal?: AbortSignal): Promise<void>;
  close(): void;
}

export interface AtLeastDeps {
  readonly model: Model;
  readonly logId: string;
  readonly events: EventPages;
  readonly logReader: Pick<LogReader, 'onAdvance'>;
  readonly decode: DecodeOnce;
}

export function createAtLeast(deps: AtLeastDeps): AtLeast {
  const closing = new AbortController();
  // Every read that waits listens.
  setMaxListeners(0, closing.signal);
  const needOf = needFinder(deps);

  const wait: AtLeast['wait'] = async (progress, token, deadlineMs, signal) => {
    const waker = wakeable(closing.signal);
    const stops = [deps.logReader.onAdvance(waker.wake), progress.onChange(waker.wake)];
    try {
      let looked: 'woken' | 'time' = 'time';
      for (let pollMs = POLL_MIN_MS; ; pollMs = Math.min(POLL_MAX_MS, pollMs * 1.5)) {
        // The poll is short enough to see it late; a listener for each of a request's many reads would cost more.
        if (signal?.aborted === true) throw behind(progress, 'LAGGING');
        if (closing.signal.aborted) throw new MillraceError('SHUTTING_DOWN', 'This process is stopping. Ask again.');
        const need = await needOf(progress, token);
        if (typeof need !== 'string') {
          if (reached(progress, need)) return;
          // A hint says all it knows; only when time has passed the partitions themselves are asked.
          if (looked === 'time') await progress.refresh();
          if (reached(progress, need)) return;
        }
        const remainingMs = deadlineMs - Date.now();
        if (remainingMs <= 0) {
          const reason = await reasonOf(progress, need);
          if (reason === undefined) return;
          throw behind(progress, reason);
        }
        looked = await waker.sleep(Math.min(pollMs, remainingMs));
      }
    } finally {
      for (const stop of stops) stop();
    }
  };
  return { wait, close: () => closing.abort() };
}

/** What a view needs for a token. It never changes once the events are in the log, so it is kept. */
function needFinder(
  deps: AtLeastDeps,
): (progress: ViewProgress, token: string) => Promise<Need | 'PLACING' | 'LAGGING'> {
  const placed = createPlacements(deps.events);
  const known = new LRUCache<string, Need>({ max: 5_000 });
  return async ({ consumer, partitionCount }, text) => {
    const key = `${consumer.name}/${consumer.generation}/${text}`;
    const cached = known.get(key);
    if (cached !== undefined) return cached;
    const token = decodeToken(text, deps.logId);
    if (token.firstVersion === null) return NOTHING;
    const { stream, commandId, firstVersion, eventCount } = token;
    const documents = await placed({ stream, commandId, first: firstVersion, count: eventCount });
    if (documents === undefined) return 'PLACING';
    // Until a worker has created this generation nobody has applied anything.
    const count = await partitionCount();
    if (count === undefined) return 'LAGGING';
    const need = computeNeed(deps, consumer, documents, count);
    known.set(key, need);
    return need;
  };
}

function computeNeed(
  { model, decode }: AtLeastDeps,
  consumer: ConsumerModel,
  documents: readonly LogDocument[],
  partitionCount: number,
): Need {
  const need = new Map<number, number>();
  for (const document of documents) {
    const route = routeEvent(model, consumer, partitionCount, decode, document);
    if (route.kind === 'skip') continue;
    // This process cannot read the event or tell its keys (newer code may). All partitions pass it in the end, so waiting
    // for all of them is never wrong.
    const partitions =
      route.kind === 'run' ? route.targets.map(({ partition }) => partition) : Array(partitionCount).keys();
    for (const partition of partitions) need.set(partition, Math.max(document._id, need.get(partition) ?? 0));
  }
  return need;
}

const reached = (progress: ViewProgress, need: Need): boolean =>
  [...need].every(([partition, position]) => progress.checkpoint(partition) >= position);

/** Why the wait failed, after a last look; undefined when that look finds the need reached. */
async function reasonOf(progress: ViewProgress, need: Need | 'PLACING' | 'LAGGING'): Promise<Reason | undefined> {
  if (typeof need === 'string') return need;
  const states = await progress.refresh();
  if (reached(progress, need)) return undefined;
  const parked = states.some(
    ({ partition, checkpoint, failure }) => failure !== undefined && checkpoint < (need.get(partition) ?? 0),
  );
  return parked ? 'PARKED' : 'LAGGING';
}

const causes: Readonly<Record<Reason, string>> = {
  PLACING: 'the events of that command are not placed in the log yet',
  LAGGING: 'the view has not applied them yet',
  PARKED: 'a handler of the view fails, and it stands still for their key until that is mended',
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
