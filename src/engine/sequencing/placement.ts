import { crashPoint } from '../../crash-points.ts';
import type { Logger } from '../../logger.ts';
import type { CommitFeed } from '../../store/commit-feed.ts';
import type { CommitDocument, LogDocument } from '../../store/documents.ts';
import { type LogStore, refKey } from '../../store/log.ts';
import type { HeldStream } from '../../store/placement-state.ts';
import { roughBytes } from '../../store/rough-bytes.ts';
import { RecentStreams } from './recent-streams.ts';

/** An event on its way into the log: its position is set anew before each try, never after it was placed. */
type Unplaced = { -readonly [K in keyof LogDocument]: LogDocument[K] };

export interface PlacementOptions {
  readonly feed: Pick<CommitFeed, 'ofStream'>;
  readonly log: Pick<LogStore, 'end' | 'place' | 'placed' | 'versionOf'>;
  readonly logger: Logger;
  /** Events now in the log (majority), in order, placed by this process. */
  readonly onPlaced: (events: readonly LogDocument[]) => void;
}

const BATCH_MAX_EVENTS = 1_000;
const BATCH_MAX_BYTES = 8_000_000;
const COMMITS_PER_READ = 50;

/**
 * Gives commits their positions. Any number of these may run at once: the unique position lets one win, and before an event
 * is placed its predecessor in the stream is in the log. Calls of one Placement must not overlap.
 */
export class Placement {
  readonly #options: PlacementOptions;
  readonly #recent = new RecentStreams();
  readonly #held = new Map<string, HeldStream>();
  #end: number | undefined;
  #waiting: Unplaced[] = [];

  constructor(options: PlacementOptions) {
    this.#options = options;
  }

  /** Streams that cannot go on, because a commit is neither in the log nor in `commits`. The log goes on. */
  get held(): readonly HeldStream[] {
    return [...this.#held.values()];
  }

  hold(streams: readonly HeldStream[]): void {
    for (const held of streams) this.#held.set(held.stream, held);
  }

  /** True when this process knows all events of the commit to be in the log. */
  knows(commit: CommitDocument): boolean {
    return (
      commit.version !== undefined &&
      (this.#recent.get(commit.stream) ?? 0) >= commit.version + commit.events.length - 1
    );
  }

  /**
   * Places what of these commits is not in the log yet, and what precedes them in their streams. Throws when MongoDB does
   * not answer; the same commits may then be placed again.
   */
  async place(commits: readonly CommitDocument[]): Promise<void> {
    await this.#placeAll(commits, undefined);
  }

  /** Looks again for the missing commits of held streams. Throws as `place` does. */
  async retryHeld(): Promise<void> {
    const { log, feed } = this.#options;
    for (const held of this.held) {
      const { stream } = held;
      this.#recent.set(stream, await log.versionOf(stream));
      // Its record stays until all of it is in the log: this may throw, and it may be saved for a successor meanwhile.
      while (this.#held.get(stream) === held) {
        const expected = this.#expected(stream);
        const commits = await feed.ofStream(stream, expected, COMMITS_PER_READ);
        const [next] = commits;
        if (next === undefined) this.#held.delete(stream);
        else if ((next.version ?? 0) > expected) break;
        else await this.#placeAll(commits, held);
      }
    }
  }

  /** `resumed` does not hold its stream back any more; a new hold does. */
  async #placeAll(commits: readonly CommitDocument[], resumed: HeldStream | undefined): Promise<void> {
    try {
      this.#end ??= await this.#options.log.end();
      const news = commits.filter((commit) => commit.version !== undefined && !this.knows(commit));
      await this.#meet(news);
      for (const commit of news) {
        const held = this.#held.get(commit.stream);
        if ((held !== undefined && held !== resumed) || !(await this.#bridge(commit))) continue;
        this.#add(commit);
        if (this.#waiting.length >= BATCH_MAX_EVENTS) await this.#flush();
      }
      await this.#flush();
    } catch (error) {
      // Nothing is known of what waits or was on its way: forget it, so that the next try asks the log.
      for (const { stream } of this.#waiting) this.#recent.delete(stream);
      this.#waiting = [];
      this.#end = undefined;
      throw error;
    }
  }

  #expected(stream: string): number {
    return (this.#recent.get(stream) ?? 0) + 1;
  }

  /** Streams that were not met lately: one read for all of them tells which predecessors are in the log. */
  async #meet(commits: readonly CommitDocument[]): Promise<void> {
    const cold = new Map<string, number>();
    for (const { stream, version = 0 } of commits) {
      if (version > 1 && this.#recent.get(stream) === undefined && !cold.has(stream)) cold.set(stream, version - 1);
    }
    if (cold.size === 0) return;
    const refs = [...cold].map(([stream, version]) => ({ stream, version }));
    const placed = await this.#options.log.placed(refs);
    for (const { stream, version } of refs) {
      if (placed.has(refKey(stream, version))) this.#recent.raise(stream, version);
      else this.#recent.set(stream, await this.#options.log.versionOf(stream));
    }
  }

  /** Brings what lies between the log and this commit. False when something of it exists nowhere: the stream is held. */
  async #bridge({ stream, version = 0 }: CommitDocument): Promise<boolean> {
    while (this.#expected(stream) < version) {
      const expected = this.#expected(stream);
      const missing = await this.#options.feed.ofStream(stream, expected, COMMITS_PER_READ);
      for (const commit of missing) {
        if ((commit.version ?? 0) <= this.#expected(stream)) this.#add(commit);
      }
      if (this.#expected(stream) > expected) await this.#flush();
      else return this.#holdBack(stream, expected);
    }
    return true;
  }

  #holdBack(stream: string, version: number): false {
    this.#held.set(stream, { stream, version, since: new Date() });
    this.#options.logger.error(
      { stream, version },
      'a commit is missing: its stream is held, the log goes on; run `millrace verify`',
    );
    return false;
  }

  #add(commit: CommitDocument): void {
    const { stream, version = 0, meta, at, command } = commit;
    const expected = this.#expected(stream);
    commit.events.forEach((event, index) => {
      if (version + index < expected) return;
      this.#waiting.push({
        _id: 0,
        id: event.id,
        type: event.type,
        schemaVersion: event.schemaVersion,
        stream,
        version: version + index,
        data: event.data,
        meta,
        commandId: command.id,
        at,
      });
    });
    this.#recent.raise(stream, version + commit.events.length - 1);
  }

  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const count = batchCount(this.#waiting);
      const left = await this.#placeBatch(this.#waiting.slice(0, count));
      this.#waiting = [...left, ...this.#waiting.slice(count)];
    }
  }

  /** One ordered insert. Returns what is still to be placed. */
  async #placeBatch(batch: Unplaced[]): Promise<Unplaced[]> {
    const { log, onPlaced } = this.#options;
    let end = this.#end ?? (await log.end());
    for (const [index, event] of batch.entries()) event._id = end + 1 + index;
    crashPoint('before-place');
    const { count, stopped } = await log.place(batch);
    crashPoint('after-place');
    end += count;
    if (count > 0) onPlaced(count === batch.length ? batch : batch.slice(0, count));
    const rest = batch.slice(count);
    if (stopped === 'position') end = await log.end();
    this.#end = end;
    if (stopped !== 'placed') return rest;
    // One collision seldom comes alone (a replay, a second sequencer): ask for all the others at once.
    const placed = await log.placed(rest);
    return rest.filter(({ stream, version }) => !placed.has(refKey(stream, version)));
  }
}

/** How many events go together: whole commands of MongoDB stay far below 48 MB, whatever the events hold. */
function batchCount(events: readonly Unplaced[]): number {
  let bytes = 0;
  const most = Math.min(events.length, BATCH_MAX_EVENTS);
  for (let count = 0; count < most; count++) {
    bytes += roughBytes(events[count]?.data);
    if (bytes > BATCH_MAX_BYTES) return Math.max(1, count);
  }
  return most;
}
