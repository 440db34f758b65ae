import type { CommitFeed } from '../../store/commit-feed.ts';
import { type EventRef, type LogStore, refKey } from '../../store/log.ts';

/** `missing`: not in the log. `extra`: in the log, in no commit. `order`: placed before its predecessor. `other`: another event's id. `gap`: the first position without an event. */
export type DifferenceKind = 'missing' | 'extra' | 'order' | 'other' | 'gap';
export interface LogDifference {
  readonly kind: DifferenceKind;
  readonly stream: string;
  readonly version: number;
  readonly position: number | null;
}
export interface VerifyReport {
  readonly ok: boolean;
  readonly commitCount: number;
  /** Events in commits. */
  readonly eventCount: number;
  /** Newest position; equals the number of events in the log when there are no gaps. */
  readonly end: number;
  readonly counts: Readonly<Record<DifferenceKind, number>>;
  /** Differences beyond the first 10,000, which are not in `counts`. */
  readonly uncounted: number;
  /** The first of them, at most 100. */
  readonly differences: readonly LogDifference[];
}

const DIFFERENCES_CAP = 100;
/** Differences that live traffic may explain, kept to be looked up again. */
const RECHECK_CAP = 10_000;
const PROGRESS_EVERY = 10_000;

interface Placed extends EventRef {
  readonly id: string;
  readonly position: number;
}
interface Store {
  readonly feed: Pick<CommitFeed, 'scanByStream' | 'ofStream'>;
  readonly log: Pick<LogStore, 'scanByStream' | 'placed' | 'end' | 'firstGap'>;
}

/**
 * Compares all commits with the whole log: every event of every commit once, under its id, in the order of its stream, nothing
 * else, positions 1 … end. Two index scans side by side: memory does not grow with the log. May run beside live traffic: what
 * differs is looked up again at the end.
 */
export async function verifyLog(
  store: Store,
  options: { readonly onProgress?: (eventCount: number) => void } = {},
): Promise<VerifyReport> {
  const found = new Findings();
  const log = new LogSide(store.log.scanByStream(), found);
  await log.next();
  let commitCount = 0;
  let eventCount = 0;
  for await (const commit of store.feed.scanByStream()) {
    commitCount++;
    for (const [index, id] of commit.eventIds.entries()) {
      const event = { stream: commit.stream, version: commit.version + index };
      if (++eventCount % PROGRESS_EVERY === 0) options.onProgress?.(eventCount);
      await log.skipTo(event);
      if (log.current === undefined || compare(log.current, event) !== 0) {
        found.add('missing', { ...event, position: null });
        continue;
      }
      if (log.current.id !== id) found.add('other', log.current);
      await log.next();
    }
  }
  await log.skipTo(undefined);
  await found.lookAgain(store);
  const end = await store.log.end();
  const gap = await store.log.firstGap(end);
  if (gap !== undefined) found.add('gap', { stream: '', version: 0, position: gap });
  return { ...found.report(), commitCount, eventCount, end };
}

/** The log in order of streams, with its own rule: positions rise with versions. */
class LogSide {
  readonly #events: AsyncIterator<Placed>;
  readonly #found: Findings;
  current: Placed | undefined;

  constructor(events: AsyncIterable<Placed>, found: Findings) {
    this.#events = events[Symbol.asyncIterator]();
    this.#found = found;
  }

  async next(): Promise<void> {
    const before = this.current;
    const { done, value } = await this.#events.next();
    this.current = done ? undefined : value;
    if (this.current === undefined || before?.stream !== this.current.stream) return;
    if (this.current.position <= before.position) this.#found.add('order', this.current);
  }

  /** What lies before `event` belongs to no commit. */
  async skipTo(event: EventRef | undefined): Promise<void> {
    while (this.current !== undefined && (event === undefined || compare(this.current, event) < 0)) {
      this.#found.add('extra', this.current);
      await this.next();
    }
  }
}

class Findings {
  #differences: LogDifference[] = [];
  #beyondCap = 0;

  add(kind: DifferenceKind, { stream, version, position }: EventRef & { readonly position: number | null }): void {
    if (this.#differences.length < RECHECK_CAP) this.#differences.push({ kind, stream, version, position });
    else this.#beyondCap++;
  }

  /** The two scans do not see the same moment: what was written or placed between them is no difference. */
  async lookAgain(store: Store): Promise<void> {
    const missing = this.#differences.filter(({ kind }) => kind === 'missing');
    const placed = await store.log.placed(missing);
    const left: LogDifference[] = [];
    for (const difference of this.#differences) {
      const { kind, stream, version } = difference;
      if (kind === 'missing' && placed.has(refKey(stream, version))) continue;
      if (kind === 'extra') {
        const [commit] = await store.feed.ofStream(stream, version, 1);
        if (commit !== undefined && (commit.version ?? 0) <= version) continue;
      }
      left.push(difference);
    }
    this.#differences = left;
  }

  report(): Pick<VerifyReport, 'ok' | 'counts' | 'differences' | 'uncounted'> {
    const counts = { missing: 0, extra: 0, order: 0, other: 0, gap: 0 };
    for (const { kind } of this.#differences) counts[kind]++;
    return {
      ok: this.#differences.length + this.#beyondCap === 0,
      counts,
      uncounted: this.#beyondCap,
      differences: this.#differences.slice(0, DIFFERENCES_CAP),
    };
  }
}

/** In MongoDB's order: strings by their UTF-8 bytes, which is not JavaScript's. */
function compare(a: EventRef, b: EventRef): number {
  if (a.stream !== b.stream) return Buffer.compare(Buffer.from(a.stream), Buffer.from(b.stream));
  return a.version - b.version;
}
