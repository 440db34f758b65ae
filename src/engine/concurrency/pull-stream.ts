/** Where a stream's messages come from. One `take` at a time, and only when somebody waits for a message. */
export interface PullSource<T> {
  /** The next message; undefined when there is none now: the stream asks again after a `wake`. */
  take(): Promise<T | undefined> | T | undefined;
  /** Lets go of everything. Called once, also while a `take` is under way. Must not throw. */
  stop(): void;
}

/**
 * An async iterable that never leaks: `return()` ends it at once and stops the source, even while `next()` waits (a
 * native async generator that is parked on a promise cannot be returned). It ends with the signal, or when the source
 * calls `end`, and starts at the first `next()`. An error of the source is thrown once and ends it. Nothing is taken that
 * nobody waits for.
 */
export function pullStream<T>(
  signal: AbortSignal,
  start: (wake: () => void, end: () => void) => PullSource<T>,
): AsyncIterableIterator<T, undefined> {
  const stream = new PullStream(signal, start);
  return {
    next: () => stream.next(),
    return: async () => {
      stream.end();
      return done;
    },
    throw: async (error: unknown) => {
      stream.end();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

interface Waiter<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: unknown) => void;
}
const done: IteratorResult<never, undefined> = { done: true, value: undefined };

let woken: { pump(): void }[] = [];
/** In a microtask, one for all: who wakes many streams first tells all of them, then they look. */
function lookLater(stream: { pump(): void }): void {
  if (woken.push(stream) === 1) queueMicrotask(lookAll);
}
function lookAll(): void {
  const streams = woken;
  woken = [];
  for (const stream of streams) stream.pump();
}

class PullStream<T> {
  readonly #signal: AbortSignal;
  readonly #start: (wake: () => void, end: () => void) => PullSource<T>;
  readonly #waiters: Waiter<T>[] = [];
  #source: PullSource<T> | undefined;
  #ended = false;
  #taking = false;
  #news = true;

  constructor(signal: AbortSignal, start: (wake: () => void, end: () => void) => PullSource<T>) {
    this.#signal = signal;
    this.#start = start;
    if (signal.aborted) this.#ended = true;
    else signal.addEventListener('abort', this.end, { once: true });
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#ended) return Promise.resolve(done);
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#news = true;
      this.pump();
    });
  }

  readonly end = (): void => {
    if (this.#ended) return;
    this.#ended = true;
    this.#signal.removeEventListener('abort', this.end);
    this.#source?.stop();
    this.#source = undefined;
    for (const { resolve } of this.#waiters.splice(0)) resolve(done);
  };

  readonly #wake = (): void => {
    this.#news = true;
    if (!this.#taking && this.#waiters.length > 0) lookLater(this);
  };

  /** Never throws. Without a promise of its own: one change may go to thousands of streams. */
  pump(): void {
    if (this.#taking) return;
    this.#taking = true;
    try {
      while (this.#news && !this.#ended && this.#waiters.length > 0) {
        this.#news = false;
        this.#source ??= this.#start(this.#wake, this.end);
        const message = this.#source.take();
        if (message instanceof Promise) {
          message.then(this.#taken, this.#fail);
          return;
        }
        this.#give(message);
      }
      this.#taking = false;
    } catch (error) {
      this.#fail(error);
    }
  }

  #give(message: T | undefined): void {
    // A message that was taken while the stream ended has no reader any more.
    if (message === undefined || this.#ended) return;
    this.#news = true;
    this.#waiters.shift()?.resolve({ done: false, value: message });
  }

  readonly #taken = (message: T | undefined): void => {
    this.#taking = false;
    this.#give(message);
    this.pump();
  };

  readonly #fail = (error: unknown): void => {
    this.#taking = false;
    const first = this.#waiters.shift();
    this.end();
    first?.reject(error);
  };
}
