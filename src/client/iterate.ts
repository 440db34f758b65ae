import { CursorKeeper } from './cursor-keeper.ts';
import type { SubscriptionMessage, SubscriptionSink } from './subscription.ts';

interface Waiting {
  resolve(result: IteratorResult<SubscriptionMessage<unknown>>): void;
  reject(error: unknown): void;
}

/**
 * A subscription as an async iterable. What arrives waits in memory; the stored cursor follows what was asked for: asking
 * for the next message says that the one before was handled, so a page that dies in between gets it again.
 */
export function iterate(
  stored: CursorKeeper,
  start: (sink: SubscriptionSink<unknown>, keeper: CursorKeeper) => () => void,
): AsyncIterableIterator<SubscriptionMessage<unknown>> {
  const queue: { readonly message: SubscriptionMessage<unknown>; cursor: string | undefined }[] = [];
  const waiting: Waiting[] = [];
  let handed: string | undefined;
  let over: { readonly error?: unknown } | undefined;
  let stop: (() => void) | undefined;

  const live = new FollowedKeeper(stored, (cursor) => {
    const last = queue.at(-1);
    if (last === undefined) handed = cursor;
    else last.cursor = cursor;
  });
  const hand = (one: Waiting): boolean => {
    const next = queue.shift();
    if (next === undefined) return false;
    handed = next.cursor;
    one.resolve({ done: false, value: next.message });
    return true;
  };
  const settle = (): void => {
    while (waiting[0] !== undefined && queue.length > 0) hand(waiting.shift() as Waiting);
    if (over === undefined || queue.length > 0) return;
    for (const one of waiting.splice(0)) {
      if (over.error === undefined) one.resolve({ done: true, value: undefined });
      else one.reject(over.error);
    }
  };
  const end = (how: { readonly error?: unknown }): void => {
    over ??= how;
    settle();
  };
  const begin = (): void => {
    stop ??= start(
      {
        next: (message) => {
          queue.push({ message, cursor: live.cursor });
          settle();
        },
        error: (error) => end({ error }),
        complete: () => end({}),
      },
      live,
    );
  };

  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next() {
      if (over === undefined) begin();
      if (handed !== undefined) stored.keep(handed);
      return new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        settle();
      });
    },
    async return() {
      stop?.();
      queue.length = 0;
      end({});
      return { done: true, value: undefined };
    },
  };
}

/** The newest cursor in memory; tells of each, and loads what is stored. */
class FollowedKeeper extends CursorKeeper {
  readonly #stored: CursorKeeper;
  readonly #follow: (cursor: string | undefined) => void;
  constructor(stored: CursorKeeper, follow: (cursor: string | undefined) => void) {
    super(undefined, undefined);
    this.#stored = stored;
    this.#follow = follow;
  }
  override async load(): Promise<void> {
    await this.#stored.load();
    super.keep(this.#stored.cursor);
  }
  override keep(cursor: string | undefined): void {
    super.keep(cursor);
    this.#follow(cursor);
  }
}
