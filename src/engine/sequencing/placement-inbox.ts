import type { CommitDocument } from '../../store/documents.ts';

/** Commits to place, and what is known once they are. */
export interface InboxItem {
  readonly commits: readonly CommitDocument[];
  /** The change stream goes on from here. */
  readonly token?: unknown;
  /** What was in `commits` at that time (of this process's clock) has been delivered. */
  readonly levelAtMs?: number;
  readonly offered?: true;
  /** Look again for what held streams miss. */
  readonly retryHeld?: true;
}

const BATCH_MAX_COMMITS = 1_000;
/** Commits in memory before offers are dropped; the change stream brings them. */
const OFFERS_MAX_COMMITS = 5_000;
/** Batches of the change stream or the scan in memory (each at most 16 MB) before they are read no further. */
const MAX_BATCHES = 4;

/** What waits to be placed, in the order of arrival. Everybody who waits here goes on when the signal is aborted. */
export class PlacementInbox {
  readonly #signal: AbortSignal;
  readonly #items: InboxItem[] = [];
  #commitCount = 0;
  #batchCount = 0;
  #wakeReader: (() => void) | undefined;
  /** The change stream and a scan can wait for room at the same time. */
  readonly #waitingForRoom: (() => void)[] = [];

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    const letGo = (): void => {
      this.#wakeReader?.();
      this.#giveRoom();
    };
    signal.addEventListener('abort', letGo, { once: true });
  }

  get takesOffers(): boolean {
    return this.#commitCount < OFFERS_MAX_COMMITS;
  }

  push(item: InboxItem): void {
    this.#items.push(item);
    this.#commitCount += item.commits.length;
    if (!item.offered) this.#batchCount++;
    this.#wakeReader?.();
  }

  /** Resolves when more batches may come. */
  async room(): Promise<void> {
    while (this.#batchCount >= MAX_BATCHES && !this.#signal.aborted) {
      await new Promise<void>((resolve) => this.#waitingForRoom.push(resolve));
    }
  }

  /** Resolves with the next push. One reader. */
  async news(): Promise<void> {
    if (this.#items.length > 0 || this.#signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#wakeReader = resolve;
    });
  }

  /** What goes together; nothing when nothing waits. */
  take(): readonly InboxItem[] {
    let count = 0;
    let taken = 0;
    for (const { commits, offered } of this.#items) {
      if (taken > 0 && count + commits.length > BATCH_MAX_COMMITS) break;
      count += commits.length;
      taken++;
      if (!offered) this.#batchCount--;
    }
    this.#commitCount -= count;
    const items = this.#items.splice(0, taken);
    this.#giveRoom();
    return items;
  }

  #giveRoom(): void {
    for (const resolve of this.#waitingForRoom.splice(0)) resolve();
  }
}
