import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from '../logger.ts';
import { type CommitFeed, type CommitStream, FeedLostError } from '../store/commit-feed.ts';
import type { CommitDocument, LogDocument } from '../store/documents.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { LogStore } from '../store/log.ts';
import type { PlacementStateStore } from '../store/placement-state.ts';
import { backoffMs } from './backoff.ts';
import { keepLease, type LeaseKeeper } from './lease-keeper.ts';
import { Placement } from './placement.ts';
import { unplacedCommits } from './placement-scan.ts';
import { RecentIds } from './recent-ids.ts';

export interface SequencerOptions {
  readonly feed: CommitFeed;
  readonly log: LogStore;
  readonly placement: PlacementStateStore;
  readonly leases: LeaseStore;
  readonly instanceId: string;
  readonly logId: string;
  readonly logger: Logger;
  /** Events now in the log (majority), in order. Must not throw. */
  readonly onPlaced: (events: readonly LogDocument[]) => void;
  /** Placed commits in a row that end the recovery scan. Default 100,000. */
  readonly scanRunCount?: number;
}

export const sequencerLease = (logId: string): string => `${logId}/sequencer`;

const BATCH_MAX_COMMITS = 1_000;
/** Commits in memory before offers are dropped; the change stream brings them. */
const INBOX_MAX_COMMITS = 5_000;
const TOKEN_SAVE_MS = 1_000;

/** While nobody else writes, the echoes of own commits are fetched a little later and together: each fetch costs MongoDB a scan. */
const ALONE_AFTER_MS = 1_000;
const ECHO_PAUSE_MS = 25;
/** An echo may be here before its offer; a commit that nobody offers for so long was written by another process. */
const CLAIM_MS = 100;
/** Offered commits whose echo in the change stream is still to come, at most. */
const OFFERED_COUNT = 20_000;
/** Batches of the change stream or the scan in memory (each at most 16 MB) before they are read no further. */
const INBOX_MAX_BATCHES = 4;

/** Commits to place, and the resume token that is safe once they are. */
interface Delivery {
  readonly commits: readonly CommitDocument[];
  readonly token?: unknown;
  readonly offered?: true;
  /** Look again for what held streams miss. */
  readonly retryHeld?: true;
}

/**
 * Copies commits into the log and so gives positions. The lease only saves work: correctness is in `Placement`, whoever runs
 * it. Commits come from the change stream, from the recovery scan, and from `offer`.
 */
export class Sequencer {
  readonly #options: SequencerOptions;
  #lease: LeaseKeeper | undefined;
  #term: Term | undefined;
  #ending: Promise<void> = Promise.resolve();

  constructor(options: SequencerOptions) {
    this.#options = options;
  }

  start(): void {
    const { leases, logId, instanceId, logger } = this.#options;
    this.#lease = keepLease({
      leases,
      id: sequencerLease(logId),
      holder: instanceId,
      logger,
      onGain: () => {
        logger.info('this process places commits now');
        this.#term = new Term(this.#options, this.#ending);
      },
      onLoss: () => {
        this.#ending = this.#term?.stop() ?? this.#ending;
        this.#term = undefined;
      },
    });
  }

  get leads(): boolean {
    return this.#term !== undefined;
  }

  /** Commits that this process just wrote (majority acknowledged): placed without waiting for the change stream. */
  offer(commits: readonly CommitDocument[]): void {
    this.#term?.offer(commits);
  }

  /** Looks for commits that were left behind, because somebody saw one unplaced. */
  rescan(): void {
    this.#term?.rescan();
  }

  async stop(): Promise<void> {
    // The work first, then the lease: the successor starts from the token that the end of the term saves.
    this.#ending = this.#term?.stop() ?? this.#ending;
    this.#term = undefined;
    await this.#ending;
    await this.#lease?.stop();
  }
}

/** One time of leading. */
class Term {
  readonly #options: SequencerOptions;
  readonly #abort = new AbortController();
  readonly #placement: Placement;
  readonly #inbox: Delivery[] = [];
  readonly #offered = new RecentIds(OFFERED_COUNT);
  /** Commits that the change stream brought before anybody offered them, by when. */
  readonly #unclaimed = new Map<string, number>();
  #foreignAtMs = 0;
  #inboxCount = 0;
  #wakeDrain: (() => void) | undefined;
  /** The change stream and a scan can wait for room at the same time. */
  readonly #waitingForRoom: (() => void)[] = [];
  /** Goes on after everything that was placed; undefined until the scan of this term, if any, is over. */
  #safeToken: unknown;
  #scanCount = 0;
  #savedState = '';
  readonly #done: Promise<unknown>;

  constructor(options: SequencerOptions, after: Promise<void>) {
    this.#options = options;
    this.#placement = new Placement(options);
    this.#done = after.then(() => Promise.all([this.#follow(), this.#drain(), this.#saveTokens(), this.#retryHeld()]));
  }

  offer(commits: readonly CommitDocument[]): void {
    if (this.#inboxCount >= INBOX_MAX_COMMITS) return;
    // From here on they lie in the inbox before their echoes, so the echoes are not needed.
    for (const { _id } of commits) {
      this.#offered.add(_id);
      this.#unclaimed.delete(_id);
    }
    this.#enqueue({ commits, offered: true });
  }

  rescan(): void {
    if (this.#scanCount === 0) this.#scan().catch(() => undefined);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    this.#wakeDrain?.();
    this.#giveRoom();
    await this.#done;
    await this.#saveState().catch(() => undefined);
  }

  #enqueue(delivery: Delivery): void {
    this.#inbox.push(delivery);
    this.#inboxCount += delivery.commits.length;
    this.#wakeDrain?.();
  }

  get #stopped(): boolean {
    return this.#abort.signal.aborted;
  }

  /** Keeps a change stream open, whatever ends it. */
  async #follow(): Promise<void> {
    const { feed, logger } = this.#options;
    let failures = 0;
    let token: unknown = await this.#loadToken();
    while (!this.#stopped) {
      let stream: CommitStream | undefined;
      try {
        if (token === undefined) {
          // The time is taken and the stream opened before the scan, so nothing lies between the two.
          stream = await feed.open({ time: await feed.now() });
          await this.#scan();
        } else stream = await feed.open({ token });
        while (!this.#stopped) {
          const next = await stream.next((id) => this.#offered.has(id));
          failures = 0;
          token = next.token;
          this.#enqueue(next);
          await this.#roomInInbox();
          if (this.#aloneAfter(next.commits) && next.knownCount > 0) await this.#pause(ECHO_PAUSE_MS);
        }
      } catch (error) {
        failures++;
        // A token that fails again and again is as bad as a lost one, whatever the server calls it.
        if (error instanceof FeedLostError || failures % 3 === 0) token = undefined;
        logger.warn({ error: String(error), failures }, 'change stream ended; opening it again');
        await this.#pause(backoffMs(failures, { firstMs: 50, maxMs: 2_000 }));
      } finally {
        await stream?.close();
      }
    }
  }

  /** Whether only this process has written lately. */
  #aloneAfter(commits: readonly CommitDocument[]): boolean {
    const nowMs = performance.now();
    for (const { _id } of commits) this.#unclaimed.set(_id, nowMs);
    for (const [id, atMs] of this.#unclaimed) {
      if (nowMs - atMs < CLAIM_MS) break;
      this.#unclaimed.delete(id);
      this.#foreignAtMs = nowMs;
    }
    return nowMs - this.#foreignAtMs > ALONE_AFTER_MS;
  }

  async #loadToken(): Promise<unknown> {
    const { placement, feed } = this.#options;
    while (!this.#stopped) {
      try {
        const state = await placement.load();
        this.#placement.hold(state?.held ?? []);
        return state?.pipeline === feed.pipeline ? (state.token ?? undefined) : undefined;
      } catch {
        await this.#pause(500);
      }
    }
    return undefined;
  }

  async #scan(): Promise<void> {
    const { feed, log, logger, scanRunCount } = this.#options;
    this.#scanCount++;
    try {
      let found = 0;
      const options = { signal: this.#abort.signal, ...(scanRunCount === undefined ? {} : { runCount: scanRunCount }) };
      for await (const commits of unplacedCommits(feed, log, options)) {
        found += commits.length;
        if (commits.length > 0) this.#enqueue({ commits });
        await this.#roomInInbox();
      }
      if (found > 0) logger.info({ commits: found }, 'found commits that were not placed');
    } finally {
      this.#scanCount--;
    }
  }

  async #roomInInbox(): Promise<void> {
    const full = (): boolean => this.#inbox.filter(({ offered }) => !offered).length >= INBOX_MAX_BATCHES;
    while (full() && !this.#stopped) {
      await new Promise<void>((resolve) => this.#waitingForRoom.push(resolve));
    }
  }

  #giveRoom(): void {
    for (const resolve of this.#waitingForRoom.splice(0)) resolve();
  }

  /** Takes all there is, at once: no timer, so a single commit does not wait and many go together. */
  async #drain(): Promise<void> {
    let failures = 0;
    while (!this.#stopped) {
      if (this.#inbox.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wakeDrain = resolve;
        });
        continue;
      }
      const deliveries = this.#takeBatch();
      this.#giveRoom();
      for (let placed = false; !placed && !this.#stopped; ) {
        try {
          await this.#placement.place(deliveries.flatMap(({ commits }) => commits));
          if (deliveries.some(({ retryHeld }) => retryHeld)) await this.#placement.retryHeld();
          placed = true;
          failures = 0;
        } catch (error) {
          failures++;
          this.#options.logger.warn({ error: String(error), failures }, 'placing failed; trying again');
          await this.#pause(backoffMs(failures, { firstMs: 20, maxMs: 1_000 }));
        }
        if (placed) this.#safeToken = deliveries.findLast(({ token }) => token !== undefined)?.token ?? this.#safeToken;
      }
    }
  }

  #takeBatch(): readonly Delivery[] {
    let count = 0;
    let taken = 0;
    for (const { commits } of this.#inbox) {
      if (taken > 0 && count + commits.length > BATCH_MAX_COMMITS) break;
      count += commits.length;
      taken++;
    }
    this.#inboxCount -= count;
    return this.#inbox.splice(0, taken);
  }

  /** Also while nothing happens: the token of an idle stream ages out of the server's history. */
  async #saveTokens(): Promise<void> {
    while (!this.#stopped) {
      await this.#pause(TOKEN_SAVE_MS);
      await this.#saveState().catch((error: unknown) => {
        this.#options.logger.debug({ error: String(error) }, 'resume token could not be saved');
      });
    }
  }

  async #saveState(): Promise<void> {
    if (this.#scanCount > 0 || this.#safeToken === undefined) return;
    const state = { token: this.#safeToken, pipeline: this.#options.feed.pipeline, held: this.#placement.held };
    const text = JSON.stringify(state);
    if (text === this.#savedState) return;
    await this.#options.placement.save(state);
    this.#savedState = text;
  }

  async #retryHeld(): Promise<void> {
    while (!this.#stopped) {
      await this.#pause(1_000);
      if (this.#placement.held.length > 0) this.#enqueue({ commits: [], retryHeld: true });
    }
  }

  async #pause(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#abort.signal }).catch(() => undefined);
  }
}
