import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from '../../logger.ts';
import { atMost } from '../../queue/at-most.ts';
import { type CommitFeed, type CommitStream, FeedLostError } from '../../store/commit-feed.ts';
import type { CommitDocument, LogDocument } from '../../store/documents.ts';
import type { LeaseStore } from '../../store/leases.ts';
import { type LogStore, refKey } from '../../store/log.ts';
import type { PlacementStateStore } from '../../store/placement-state.ts';
import { backoffMs } from '../concurrency/backoff.ts';
import { keepLease, LEASE_TTL_MS, type LeaseKeeper } from '../concurrency/lease-keeper.ts';
import { Placement } from './placement.ts';
import { PlacementInbox } from './placement-inbox.ts';
import { newestUnplaced, unplacedCommits } from './placement-scan.ts';
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

/** A term that has not ended by then hangs in a call to MongoDB. A killed process would hold up its successor no longer. */
const END_MAX_MS = LEASE_TTL_MS;
const TOKEN_SAVE_MS = 1_000;
const RETRY_HELD_MS = 1_000;
const LOOK_MS = 1_000;
/** A scan reads 100,000 commits. */
const REST_AFTER_SCAN_MS = 60_000;

/** While nobody else writes, the echoes of own commits are fetched a little later and together: each fetch costs MongoDB a scan. */
const ALONE_AFTER_MS = 1_000;
const ECHO_PAUSE_MS = 25;
/** An echo may be here before its offer; a commit that nobody offers for so long was written by another process. */
const CLAIM_MS = 100;
/** Offered commits whose echo in the change stream is still to come, at most. */
const OFFERED_COUNT = 20_000;

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
        logger.info('this process gives commits their positions in the log from now on');
        this.#term = new Term(this.#options, this.#ending);
      },
      onLoss: () => this.#endTerm(),
    });
  }

  get leads(): boolean {
    return this.#term !== undefined;
  }

  /** Commits that this process just wrote (majority acknowledged): placed without waiting for the change stream. */
  offer(commits: readonly CommitDocument[]): void {
    this.#term?.offer(commits);
  }

  /** Bounded, whatever hangs. */
  async stop(): Promise<void> {
    // The work first, then the lease: the successor starts from the token that the end of the term saves.
    this.#endTerm();
    await this.#ending;
    await this.#lease?.stop();
    await this.#ending;
  }

  #endTerm(): void {
    if (this.#term === undefined) return;
    const ended = atMost(END_MAX_MS, this.#term.stop());
    this.#term = undefined;
    this.#ending = ended.then((inTime) => {
      if (!inTime) this.#options.logger.warn('placing hangs; somebody else may go on with it');
    });
  }
}

/** One time of leading. */
class Term {
  readonly #options: SequencerOptions;
  readonly #abort = new AbortController();
  readonly #placement: Placement;
  readonly #inbox: PlacementInbox;
  readonly #offered = new RecentIds(OFFERED_COUNT);
  /** Commits that the change stream brought before anybody offered them, by when. */
  readonly #unclaimed = new Map<string, number>();
  #foreignAtMs = 0;
  /** Goes on after everything that was placed; undefined until the scan of this term, if any, is over. */
  #safeToken: unknown;
  /** What was in `commits` at that time has been placed, but for what was left behind. */
  #levelAtMs = 0;
  #savedState = '';
  readonly #done: Promise<unknown>;

  constructor(options: SequencerOptions, after: Promise<void>) {
    this.#options = options;
    this.#placement = new Placement(options);
    this.#inbox = new PlacementInbox(this.#abort.signal);
    this.#done = after.then(() =>
      Promise.all([this.#follow(), this.#drain(), this.#saveTokens(), this.#retryHeld(), this.#lookBack()]),
    );
  }

  offer(commits: readonly CommitDocument[]): void {
    if (!this.#inbox.takesOffers) return;
    // From here on they lie in the inbox before their echoes, so the echoes are not needed.
    for (const { _id } of commits) {
      this.#offered.add(_id);
      this.#unclaimed.delete(_id);
    }
    this.#inbox.push({ commits, offered: true });
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
    await this.#saveState().catch(() => undefined);
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
      let askedAtMs = performance.now();
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
          this.#inbox.push(next.full ? next : { ...next, levelAtMs: askedAtMs });
          await this.#inbox.room();
          if (this.#aloneAfter(next.commits) && next.knownCount > 0) await this.#pause(ECHO_PAUSE_MS);
          askedAtMs = performance.now();
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
    let found = 0;
    const options = { signal: this.#abort.signal, ...(scanRunCount === undefined ? {} : { runCount: scanRunCount }) };
    for await (const commits of unplacedCommits(feed, log, options)) {
      found += commits.length;
      if (commits.length > 0) this.#inbox.push({ commits });
      await this.#inbox.room();
    }
    if (found > 0) logger.info({ commits: found }, 'found commits that were not placed');
  }

  /** Finds what was left behind, whatever did it: the change stream has told everything since, and it has no place yet. */
  async #lookBack(): Promise<void> {
    const { feed, log, logger } = this.#options;
    let seen: ReadonlySet<string> = new Set();
    let seenAtMs = 0;
    while (!this.#stopped) {
      await this.#pause(LOOK_MS);
      // One that only lags has nothing to search for, and no time for it.
      if (this.#levelAtMs <= seenAtMs) continue;
      try {
        const held = new Set(this.#placement.held.map(({ stream }) => stream));
        const waiting = (await newestUnplaced({ feed, log })).filter(({ stream }) => !held.has(stream));
        const left = waiting.filter(({ stream, version }) => seen.has(refKey(stream, version)));
        seen = new Set(waiting.map(({ stream, version }) => refKey(stream, version)));
        seenAtMs = performance.now();
        if (left.length === 0) continue;
        logger.warn({ commits: left.length }, 'commits were left behind; searching for all of them');
        await this.#scan();
        await this.#pause(REST_AFTER_SCAN_MS);
      } catch (error) {
        logger.warn({ error: String(error) }, 'the search for commits that were left behind failed');
      }
    }
  }

  /** Takes all there is, at once: no timer, so a single commit does not wait and many go together. */
  async #drain(): Promise<void> {
    let failures = 0;
    while (!this.#stopped) {
      const deliveries = this.#inbox.take();
      if (deliveries.length === 0) {
        await this.#inbox.news();
        continue;
      }
      for (let placed = false; !placed && !this.#stopped; ) {
        try {
          await this.#placement.place(deliveries.flatMap(({ commits }) => commits));
          if (deliveries.some(({ retryHeld }) => retryHeld)) await this.#placement.retryHeld();
          placed = true;
          failures = 0;
          for (const { token, levelAtMs } of deliveries) {
            this.#safeToken = token ?? this.#safeToken;
            this.#levelAtMs = levelAtMs ?? this.#levelAtMs;
          }
        } catch (error) {
          failures++;
          this.#options.logger.warn({ error: String(error), failures }, 'placing failed; trying again');
          await this.#pause(backoffMs(failures, { firstMs: 20, maxMs: 1_000 }));
        }
      }
    }
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
    if (this.#safeToken === undefined) return;
    const state = { token: this.#safeToken, pipeline: this.#options.feed.pipeline, held: this.#placement.held };
    const text = JSON.stringify(state);
    if (text === this.#savedState) return;
    await this.#options.placement.save(state);
    this.#savedState = text;
  }

  async #retryHeld(): Promise<void> {
    while (!this.#stopped) {
      await this.#pause(RETRY_HELD_MS);
      if (this.#placement.held.length > 0) this.#inbox.push({ commits: [], retryHeld: true });
    }
  }

  async #pause(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#abort.signal }).catch(() => undefined);
  }
}
