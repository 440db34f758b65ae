import { partitionOf } from '../../define/partition.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import type { ViewDocument } from '../../store/documents.ts';
import type { ChangePlace, PartitionState, ViewBuild, ViewStore } from '../../store/view-documents.ts';
import type { ViewHint } from '../log/hint-bus.ts';
import { encodeViewPlace } from '../views/cursor.ts';
import type { ViewHandle } from '../views/view-handles.ts';
import { type PartitionChange, type PartitionStep, PartitionTrack } from './partition-track.ts';
import { ViewAudience } from './view-audience.ts';

export interface FeedDeps {
  readonly logId: string;
  readonly store: ViewStore;
  readonly logger: Logger;
  readonly timing: FeedTiming;
}
export interface FeedTiming {
  /** How often the partitions are asked for revisions, so that a lost last hint is noticed; default 1,000. */
  readonly pollMs: number;
  /** How long a hole between revisions may fill by itself before the change is read; default 20. */
  readonly holeWaitMs: number;
  /** How long a feed goes on after its last subscriber left; default 5,000. */
  readonly graceMs: number;
}

const RANGE_PAGE_COUNT = 500;
/** Changed documents that are read and told together. */
const TOLD_COUNT = 1_000;
/** Single documents are read instead of a range when so few are wanted. */
const WANTED_MAX_COUNT = 1_000;
/** After a read the next one waits so long: what changes meanwhile is read together. The first after a pause comes at once. */
const READ_EVERY_MS = 20;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 2_000;
/** Waits before what is older than a hint is read again: after a failover a read may lag for a moment. */
const STALE_WAITS_MS = [10, 40, 160, 640] as const;

/**
 * Carries the changes of one view to those who listen in this process, each document read once whatever their number.
 * Guarantee: after `start`, every change of a revision above the one it began with is told, newest state first and never
 * an older one after it; `revisions` says up to where. Hints only say when to look.
 */
export class FeedRun {
  readonly audience = new ViewAudience();
  readonly #view: ViewHandle;
  readonly #deps: FeedDeps;
  readonly #tracks = new Map<number, PartitionTrack>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #started = false;
  #running = false;
  #again = false;
  #looksLater = false;
  #stopped = false;
  #failures = 0;
  #readAtMs = 0;
  #place: string | undefined;
  #builtAtMs: number | undefined;

  constructor(view: ViewHandle, deps: FeedDeps) {
    this.#view = view;
    this.#deps = deps;
  }

  /** Takes the partitions as they are now as the beginning. */
  async start(): Promise<void> {
    this.#builtAtMs = await this.#view.progress.builtAt();
    for (const { partition, revision } of await this.#view.progress.refresh()) {
      this.#tracks.set(partition, new PartitionTrack(revision));
    }
    this.#started = true;
    this.#poll();
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  note(hint: ViewHint): void {
    // What it tells of is in the partition by now: everybody who begins to listen asks for it by `confirm`.
    if (!this.#started) return;
    this.#track(hint.partition).hear(hint);
    this.#kick();
  }

  /** By partition number: every change up to these was told to everybody who listens. */
  revisions(): number[] {
    return byPartition([...this.#tracks].map(([partition, { delivered }]) => [partition, delivered]));
  }

  /** `revisions` as a cursor without its scope; made once, whatever the number of subscribers. */
  place(): string {
    this.#place ??= this.placeOf(this.revisions(), nowS());
    return this.#place;
  }

  /** Any place in this view. */
  placeOf(revisions: readonly number[], issuedAtS: number): string {
    return encodeViewPlace({ ...this.build, issuedAtS, revisions });
  }

  /** What a cursor has to be of. Complete after `confirm`, if there are partitions. */
  get build(): ViewBuild & { readonly logId: string; readonly builtAtMs: number } {
    return { logId: this.#deps.logId, ...this.#view.build, builtAtMs: this.#builtAtMs ?? 0 };
  }

  /**
   * Revisions of the partitions as stored now, and not older than any that this process has heard of: what is read
   * after this holds every change that was told before it. Throws VIEW_BEHIND when MongoDB stays older for about a second.
   */
  async confirm(): Promise<readonly number[]> {
    const heard = new Map([...this.#tracks].map(([partition, track]) => [partition, track.heard]));
    for (let attempt = 0; ; attempt++) {
      const states = await this.#look();
      const revisions = byPartition(states.map(({ partition, revision }) => [partition, revision]));
      const waitMs = STALE_WAITS_MS[attempt];
      const fresh = [...heard].every(([partition, revision]) => (revisions[partition] ?? 0) >= revision);
      if (fresh || this.#stopped) return revisions;
      if (waitMs === undefined) throw behind(this.#view.build.view);
      await this.#sleep(waitMs);
    }
  }

  /**
   * Documents not older than the revision beside their id; those that were removed and forgotten since are absent.
   * Throws VIEW_BEHIND when MongoDB stays older for about a second.
   */
  async readAtLeast(wanted: ReadonlyMap<string, number>): Promise<readonly ViewDocument[]> {
    const { store } = this.#deps;
    const isNew = ({ _id, _revision }: ViewDocument): boolean => _revision >= (wanted.get(_id) ?? 0);
    const found = (await store.byIds(this.#view.build, [...wanted.keys()])).filter(isNew);
    if (found.length === wanted.size) return found;
    // Stale after a failover, or gone. What is read after `confirm` is not stale: absent is gone then.
    await this.confirm();
    const known = new Set(found.map(({ _id }) => _id));
    const missing = [...wanted.keys()].filter((id) => !known.has(id));
    const again = await store.byIds(this.#view.build, missing);
    if (!again.every(isNew)) throw behind(this.#view.build.view);
    return [...found, ...again];
  }

  #track(partition: number): PartitionTrack {
    const known = this.#tracks.get(partition);
    if (known !== undefined) return known;
    // The generation was created after the start: nothing of it was told yet.
    const track = new PartitionTrack(0);
    this.#tracks.set(partition, track);
    this.#place = undefined;
    return track;
  }

  /** Hears of all that is stored now. */
  async #look(): Promise<readonly PartitionState[]> {
    const states = await this.#view.progress.refresh();
    if (states.length > 0 && this.#builtAtMs === undefined) {
      this.#builtAtMs = await this.#view.progress.builtAt();
      this.#place = undefined;
    }
    for (const { partition, revision } of states) this.#track(partition).hearRevision(revision);
    this.#kick();
    return states;
  }

  #poll(): void {
    this.#after(this.#deps.timing.pollMs, async () => {
      try {
        await this.#look();
      } catch (error) {
        this.#deps.logger.warn({ err: error, view: this.#view.build.view }, 'cannot read how far a view has come');
      }
      if (!this.#stopped) this.#poll();
    });
  }

  /** Works off what was heard, one round at a time; what is heard meanwhile is one more round together. */
  #kick(): void {
    this.#again = true;
    if (!this.#running && !this.#stopped) void this.#work();
  }

  async #work(): Promise<void> {
    this.#running = true;
    try {
      while (this.#again && !this.#stopped) {
        const waitMs = this.#readAtMs + READ_EVERY_MS - performance.now();
        if (waitMs > 0) await this.#sleep(waitMs);
        this.#again = false;
        if (await this.#round()) this.#again = true;
        this.#failures = 0;
      }
      const waiting = [...this.#tracks.values()].some((track) => track.waits);
      if (waiting) this.#later(this.#deps.timing.holeWaitMs);
    } catch (error) {
      const waitMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.#failures++);
      this.#deps.logger.warn({ err: error, view: this.#view.build.view, waitMs }, 'cannot read changes of a view');
      this.#later(waitMs);
    } finally {
      this.#running = false;
    }
  }

  /** True when there was something to do. */
  async #round(): Promise<boolean> {
    const nowMs = Date.now();
    const steps: [PartitionTrack, PartitionStep, number][] = [];
    for (const [partition, track] of this.#tracks) {
      const step = track.step(nowMs, this.#deps.timing.holeWaitMs);
      if (step !== undefined) steps.push([track, step, partition]);
    }
    await this.#tellChanges(steps);
    for (const [track, step, partition] of steps) {
      if (step.kind === 'range' && !this.#stopped) await this.#tellRange(track, partition, step.after);
    }
    return steps.length > 0;
  }

  async #tellChanges(steps: readonly [PartitionTrack, PartitionStep, number][]): Promise<void> {
    const documents: ViewDocument[] = [];
    const wanted = new Map<string, number>();
    for (const [, step] of steps) {
      for (const change of step.kind === 'changes' ? step.changes : []) this.#collect(change, documents, wanted);
    }
    const entries = [...wanted];
    if (entries.length > 0) this.#readAtMs = performance.now();
    while (entries.length > 0) {
      documents.push(...(await this.readAtLeast(new Map(entries.splice(0, TOLD_COUNT)))));
      if (entries.length > 0) for (const document of documents.splice(0)) this.#tell(document);
    }
    // From here on without waiting: subscribers look when all is told and the cursor says so.
    for (const document of documents) this.#tell(document);
    for (const [track, step] of steps) if (step.kind === 'changes') track.deliver(step.upTo);
    this.#place = undefined;
  }

  #collect(change: PartitionChange, documents: ViewDocument[], wanted: Map<string, number>): void {
    if (change.documents !== undefined) {
      documents.push(...change.documents);
      return;
    }
    for (const id of change.ids) if (this.audience.wants(id)) wanted.set(id, change.revision);
  }

  /** Hints of this range were lost. What is read is told page by page; the range counts as told when all of it was. */
  async #tellRange(track: PartitionTrack, partition: number, after: number): Promise<void> {
    const { store } = this.#deps;
    const states = await this.#view.progress.refresh();
    const upTo = states.find((state) => state.partition === partition)?.revision ?? 0;
    // Stale after a failover: look again.
    if (upTo < track.heard) throw behind(this.#view.build.view);
    const count = await this.#view.progress.partitionCount();
    const ids = this.audience.wantedIds();
    const wanted = ids?.filter((id) => count === undefined || partitionOf(id, count) === partition);
    if (wanted !== undefined && wanted.length <= WANTED_MAX_COUNT) {
      for (const document of await store.byIds(this.#view.build, wanted)) {
        this.#tell(document);
      }
    } else {
      let from: ChangePlace = { partition, revision: after };
      for (let full = true; full && !this.#stopped; ) {
        const page = await store.changedSince(this.#view.build, [from], RANGE_PAGE_COUNT);
        for (const document of page) this.#tell(document);
        const last = page.at(-1);
        if (last !== undefined) from = { partition, revision: last._revision, id: last._id };
        full = page.length === RANGE_PAGE_COUNT;
      }
    }
    track.deliver(upTo);
    this.#place = undefined;
  }

  #tell(document: ViewDocument): void {
    if (this.#track(document._partition).admits(document)) this.audience.tell(document);
  }

  /** One look after a while is enough, whatever the number of reasons. */
  #later(ms: number): void {
    if (this.#looksLater) return;
    this.#looksLater = true;
    this.#after(ms, () => {
      this.#looksLater = false;
      this.#kick();
    });
  }

  #after(ms: number, work: () => unknown): void {
    if (this.#stopped) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void work();
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }
}

/** As cursors tell the time. */
export const nowS = (): number => Math.floor(Date.now() / 1_000);

/** Nothing is wrong with what the client asked: it only has to ask again. */
const behind = (view: string): MillraceError =>
  new MillraceError(
    'VIEW_BEHIND',
    `View "${view}" is read older than it was heard of: MongoDB changes its primary. Ask again in 1000 ms.`,
    { details: { view, reason: 'LAGGING', retryAfterMs: 1_000 } },
  );

function byPartition(entries: Iterable<readonly [partition: number, revision: number]>): number[] {
  const revisions: number[] = [];
  for (const [partition, revision] of entries) revisions[partition] = revision;
  return Array.from(revisions, (revision) => revision ?? 0);
}
