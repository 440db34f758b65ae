import type { LogDocument } from '../../store/documents.ts';
import type { LogStore } from '../../store/log.ts';
import { roughBytes } from '../../store/rough-bytes.ts';
import type { HintBus } from './hint-bus.ts';

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

/** A LogReader that looks at the log by itself, so that a lost hint is found; `close` ends that. */
export interface OwnedLogReader extends LogReader {
  /** Looks up the end of the log now. Calls at the same time share a look that began after all of them. */
  refresh(): Promise<void>;
  close(): void;
}
export interface LogReaderOptions {
  /** Events kept in memory. Default 20,000. */
  readonly windowMaxCount?: number;
  /** About how many bytes of them. Default 48 MB. */
  readonly windowMaxBytes?: number;
  /** How often the end of the log is looked up while nothing is heard. Default 1,000. */
  readonly pollMs?: number;
}

/** Reads the end of the log before it resolves. */
export async function createLogReader(
  log: LogStore,
  hints: Pick<HintBus, 'listen'>,
  options: LogReaderOptions = {},
): Promise<OwnedLogReader> {
  const window = new Window(options.windowMaxCount ?? 20_000, options.windowMaxBytes ?? 48_000_000);
  const listeners = new Set<(end: number) => void>();
  const underWay = new Map<string, Promise<readonly LogDocument[]>>();
  let end = await log.end();
  let heard = false;
  /** Somebody was told of an end that could not be read yet: a new primary shows it a moment later. */
  let owed = false;

  const advance = (to: number): void => {
    if (to <= end) return;
    end = to;
    heard = true;
    for (const listener of listeners) listener(end);
  };
  const fetch = async (after: number, limit: number): Promise<readonly LogDocument[]> => {
    const found = await log.read(after, limit);
    const last = found.at(-1);
    if (last === undefined && after < end) owed = true;
    // Only the newest part is worth keeping: others of this process will ask for it in a moment.
    if (last !== undefined && last._id >= end) window.append(found);
    if (last !== undefined) advance(last._id);
    return found;
  };
  let looking: Promise<void> | undefined;
  let nextLook: Promise<void> | undefined;
  const look = (): Promise<void> => {
    looking = log
      .end()
      .then(advance)
      .finally(() => {
        looking = undefined;
      });
    return looking;
  };
  /** A look under way may have begun before the news: wait for the one after it, together with all who ask meanwhile. */
  const refresh = (): Promise<void> => {
    if (looking === undefined) return look();
    nextLook ??= looking
      .catch(() => undefined)
      .then(() => {
        nextLook = undefined;
        return look();
      });
    return nextLook;
  };
  const poll = setInterval(() => {
    if (owed) {
      owed = false;
      for (const listener of listeners) listener(end);
    }
    if (heard) heard = false;
    else refresh().catch(() => undefined);
  }, options.pollMs ?? 1_000);
  poll.unref();
  const deaf = hints.listen((hint) => {
    if (hint.kind === 'log') advance(hint.end);
  });

  return {
    get end() {
      return end;
    },
    async read(after, limit) {
      const kept = window.after(after, limit);
      if (kept !== undefined) return kept;
      if (after >= end) return [];
      const key = `${after}/${limit}`;
      const reading = underWay.get(key) ?? fetch(after, limit).finally(() => underWay.delete(key));
      underWay.set(key, reading);
      return reading;
    },
    offer(placed) {
      const last = placed.at(-1);
      if (last === undefined) return;
      window.append(placed);
      advance(last._id);
    },
    advance,
    refresh,
    onAdvance(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      clearInterval(poll);
      deaf();
      listeners.clear();
    },
  };
}

/** An event without its data, about. */
const ENVELOPE_BYTES = 500;

/** The newest events in memory: one run of positions without a gap, bounded by count and bytes. */
class Window {
  #events: LogDocument[] = [];
  #bytes: number[] = [];
  #totalBytes = 0;
  /** Events before this index were dropped; they are cut off together, now and then. */
  #start = 0;
  readonly #maxCount: number;
  readonly #maxBytes: number;

  constructor(maxCount: number, maxBytes: number) {
    this.#maxCount = maxCount;
    this.#maxBytes = maxBytes;
  }

  /** Undefined when memory does not hold the event after `after`. */
  after(after: number, limit: number): readonly LogDocument[] | undefined {
    const first = this.#events[this.#start];
    if (first === undefined || after + 1 < first._id) return undefined;
    const from = this.#start + after + 1 - first._id;
    return from < this.#events.length ? this.#events.slice(from, from + limit) : undefined;
  }

  append(events: readonly LogDocument[]): void {
    const last = this.#events.at(-1);
    const first = events[0];
    if (first === undefined) return;
    if (last !== undefined && first._id > last._id + 1) this.#clear();
    const known = this.#events.at(-1)?._id ?? 0;
    for (const event of events) {
      if (event._id <= known) continue;
      const bytes = ENVELOPE_BYTES + roughBytes(event.data);
      this.#events.push(event);
      this.#bytes.push(bytes);
      this.#totalBytes += bytes;
    }
    this.#shrink();
  }

  #shrink(): void {
    while (
      this.#start < this.#events.length - 1 &&
      (this.#events.length - this.#start > this.#maxCount || this.#totalBytes > this.#maxBytes)
    ) {
      this.#totalBytes -= this.#bytes[this.#start] ?? 0;
      this.#start++;
    }
    if (this.#start > 4_096 && this.#start > this.#events.length / 2) {
      this.#events = this.#events.slice(this.#start);
      this.#bytes = this.#bytes.slice(this.#start);
      this.#start = 0;
    }
  }

  #clear(): void {
    this.#events = [];
    this.#bytes = [];
    this.#totalBytes = 0;
    this.#start = 0;
  }
}
