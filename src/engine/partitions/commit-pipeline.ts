import { MillraceError } from '../../errors.ts';
import type { BlockedKey } from '../../store/dead-letters.ts';
import type { DeadLetterDocument, ViewDocument } from '../../store/documents.ts';
import type { PartitionFailure, PartitionMove, PartitionStore, ViewWrites } from '../../store/partitions.ts';
import { SideWrites } from '../../store/side-writes.ts';
import type { TransactionEnd } from '../../store/transactions.ts';
import { type ViewBuild, viewCollectionName } from '../../store/view-documents.ts';
import { blockedKeyOf, parkedEvent } from './dead-letter.ts';
import { type DocumentState, documentOf } from './document-cache.ts';
import type { PartitionHead } from './partition-head.ts';
import { PendingBatch } from './pending-batch.ts';

/** What one batch does to one partition. */
export interface Step {
  readonly head: PartitionHead;
  /** Where its documents lie; undefined for consumers that have none. */
  readonly build: ViewBuild | undefined;
  readonly from: { readonly checkpoint: number; readonly revision: number };
  readonly revision: number;
  checkpoint: number;
  readonly changed: Map<string, DocumentState>;
  failure: PartitionFailure | undefined;
  eventCount: number;
  lastPosition: number;
  /** Writes besides documents. */
  side: SideWrites | undefined;
  /** Keys that it blocks. */
  readonly deadLetters: DeadLetterDocument[];
  /** Set when it blocks keys or lets them go. */
  blockedCount: number | undefined;
}

/** A partition's part of a batch, written. */
export interface WrittenStep {
  readonly build: ViewBuild | undefined;
  readonly partition: number;
  readonly revision: number;
  readonly checkpoint: number;
  readonly documents: readonly ViewDocument[];
  /** What was written beside them. */
  readonly side: SideWrites | undefined;
  /** Records of keys that were blocked, or blocked anew. */
  readonly deadLetters: readonly DeadLetterDocument[];
  /** Keys of the partition that are blocked now. */
  readonly blockedCount: number;
}

export type LostEnd = Exclude<TransactionEnd, { kind: 'committed' }>;

export interface PipelineOptions {
  readonly store: Pick<PartitionStore, 'commit' | 'moveEach'>;
  /**
   * Told once their transaction is committed. `time`: the server's time of that commit; views read after `notBefore(time)`
   * hold what these steps wrote. Undefined when the server did not say.
   */
  readonly onWritten: (steps: readonly WrittenStep[], time: string | undefined) => void;
  /** Partitions that were moved lazily are at rest again, moved or not: errands may have waited for that. */
  readonly onRest: () => void;
  /** These were not written, or nobody knows. They were told to forget what they know. */
  readonly onLost: (steps: readonly Step[], end: LostEnd) => void;
}

/** Of one write besides documents, by estimate. */
const SIDE_BYTES = 500;
/** After the surroundings failed a transaction of several partitions each goes alone for a while: it may have been too much. */
const ALONE_MS = 1_000;

/**
 * The transactions of one process, one after the other. While one is under way the partitions go on handling, on top of what
 * is not written yet; all they do meanwhile is the next transaction. When one fails, what was built on it is thrown away.
 */
export class CommitPipeline {
  readonly #options: PipelineOptions;
  #pending = new PendingBatch();
  #underWay: Promise<void> | undefined;
  #aloneUntilMs = 0;
  readonly #room: (() => void)[] = [];
  #lazy: readonly PartitionHead[] = [];

  constructor(options: PipelineOptions) {
    this.#options = options;
  }

  /** The partition's part of the next transaction; its revision is settled now. */
  step(head: PartitionHead, build: ViewBuild | undefined): Step {
    const known = this.#pending.steps.get(head);
    if (known !== undefined) return known;
    if (head.tip === undefined) throw new MillraceError('INTERNAL', 'A partition was run before it was read.');
    const step: Step = {
      head,
      build,
      from: head.tip,
      revision: head.tip.revision + 1,
      checkpoint: head.tip.checkpoint,
      changed: new Map(),
      failure: undefined,
      eventCount: 0,
      lastPosition: 0,
      side: undefined,
      deadLetters: [],
      blockedCount: undefined,
    };
    this.#pending.steps.set(head, step);
    head.queuedCount++;
    return step;
  }

  change(step: Step, key: string, state: DocumentState): void {
    const before = step.changed.get(key);
    step.changed.set(key, state);
    if (before === undefined) this.#pending.writeCount++;
    this.#pending.bytes += state.bytes - (before?.bytes ?? 0);
  }

  /** From now on the key's events are parked. */
  block(step: Step, record: DeadLetterDocument): void {
    step.side ??= new SideWrites();
    step.side.put('dead_letters', record);
    this.#pending.writeCount++;
    step.deadLetters.push(record);
    step.head.blocked.set(record.key, blockedKeyOf(record));
    step.blockedCount = step.head.blocked.size;
  }

  /** An event of a blocked key: it waits behind the dead letter. */
  park(step: Step, key: BlockedKey, position: number): void {
    step.side ??= new SideWrites();
    step.side.put('parked_events', parkedEvent(step.head.ref, key, position));
    const parkedCount = key.parkedCount + 1;
    step.side.set('dead_letters', key._id, { parkedCount });
    this.#pending.writeCount++;
    step.head.blocked.set(key.key, { ...key, parkedCount });
  }

  /** Writes of a handler besides its document. */
  beside(step: Step, side: SideWrites): void {
    step.side ??= new SideWrites();
    step.side.merge(side);
    for (const [, operations] of side) {
      this.#pending.writeCount += operations.size;
      this.#pending.bytes += operations.size * SIDE_BYTES;
    }
  }

  /** The step has handled everything up to `checkpoint`. */
  reach(step: Step, checkpoint: number, eventCount: number): void {
    step.checkpoint = checkpoint;
    step.eventCount += eventCount;
    step.head.tip = { checkpoint, revision: step.revision };
    this.#pending.eventCount += eventCount;
  }

  /** Starts what is next unless something is under way, which then does it. */
  kick(): void {
    if (this.#underWay !== undefined) return;
    const next = this.#takeLazy() ?? this.#takeBatch();
    if (next === undefined) return;
    this.#underWay = next.finally(() => {
      this.#underWay = undefined;
      this.kick();
    });
  }

  /** Moves checkpoints over events that are not these partitions'; no effects, no revision. In turn with the transactions. */
  moveLazily(heads: readonly PartitionHead[]): void {
    this.#lazy = heads;
    this.kick();
  }

  #takeBatch(): Promise<void> | undefined {
    const batch = this.#pending;
    if (batch.steps.size === 0) return undefined;
    this.#pending = new PendingBatch();
    for (const resolve of this.#room.splice(0)) resolve();
    return this.#write([...batch.steps.values()]);
  }

  #takeLazy(): Promise<void> | undefined {
    const heads = this.#lazy;
    this.#lazy = [];
    const moves: PartitionMove[] = [];
    const moved: PartitionHead[] = [];
    for (const head of heads) {
      const { tip, scanned, queuedCount, failure, doubted, busy } = head;
      if (tip === undefined || doubted || busy || head.paused || queuedCount > 0 || failure !== undefined) continue;
      // One that works for long says so: nobody needs to push it.
      if (scanned <= tip.checkpoint && !head.working) continue;
      const to = { checkpoint: scanned, revision: tip.revision };
      moves.push({ ...head.ref, from: tip, to, failure: undefined });
      head.tip = to;
      head.queuedCount++;
      moved.push(head);
    }
    if (moves.length === 0) return undefined;
    const done = (): void => {
      for (const head of moved) {
        head.queuedCount = Math.max(0, head.queuedCount - 1);
        head.settle();
      }
      this.#options.onRest();
    };
    // Whether each was still where it was believed to be shows with its next transaction.
    return this.#options.store.moveEach(moves).then(done, (error: unknown) => {
      const above = moved.flatMap((head) => this.#pending.steps.get(head) ?? []);
      for (const head of moved) this.#forget(head);
      // Handled meanwhile, on top of the move.
      if (above.length > 0) this.#options.onLost(above, { kind: 'failed', error });
      for (const head of moved) head.settle();
      this.#options.onRest();
    });
  }

  get full(): boolean {
    return this.#pending.full;
  }

  /** Resolves when handlers may go on. */
  async room(): Promise<void> {
    while (this.full) {
      const room = new Promise<void>((resolve) => this.#room.push(resolve));
      this.kick();
      await room;
    }
  }

  /** Resolves when everything handled so far is written or lost. */
  async idle(): Promise<void> {
    while (this.#underWay !== undefined) await this.#underWay;
  }

  async #write(steps: readonly Step[]): Promise<void> {
    const batch = steps.map((step) => ({ step, move: moveOf(step), written: writtenOf(step) }));
    if (performance.now() < this.#aloneUntilMs) await Promise.all(batch.map((one) => this.#commit([one])));
    else await this.#commit(batch);
  }

  /** All in one transaction. Those that stop it are lost; the others are written without them. */
  async #commit(batch: readonly Prepared[]): Promise<void> {
    const end = await this.#options.store.commit(
      batch.map(({ move }) => move),
      writesOf(batch.map(({ written }) => written)),
      sideOf(batch.map(({ step }) => step)),
    );
    if (end.kind === 'committed') return this.#wrote(batch, end.time);
    if (batch.length > 1 && end.kind === 'refused' && end.moved !== undefined && end.moved.length > 0) {
      const moved = new Set(end.moved);
      this.#lose(
        batch.filter((_, index) => moved.has(index)),
        end,
      );
      const others = batch.filter((_, index) => !moved.has(index));
      if (others.length > 0) await this.#commit(others);
      return;
    }
    if (batch.length > 1 && (end.kind === 'refused' || end.kind === 'conflict' || end.kind === 'unstorable')) {
      const middle = Math.ceil(batch.length / 2);
      await Promise.all([this.#commit(batch.slice(0, middle)), this.#commit(batch.slice(middle))]);
      return;
    }
    if (batch.length > 1) this.#aloneUntilMs = performance.now() + ALONE_MS;
    this.#lose(batch, end);
  }

  #wrote(batch: readonly Prepared[], time: string | undefined): void {
    for (const {
      step: { head, revision },
    } of batch) {
      // Forgotten meanwhile, it has nothing queued.
      head.queuedCount = Math.max(0, head.queuedCount - 1);
      head.committedRevision = revision;
      head.conflictCount = 0;
      head.documents.shrink(revision);
    }
    this.#options.onWritten(
      batch.map(({ written }) => written),
      time,
    );
    for (const { step } of batch) step.head.settle();
  }

  #lose(batch: readonly Prepared[], end: LostEnd): void {
    const steps = batch.map(({ step }) => step);
    for (const { head } of steps) this.#forget(head);
    this.#options.onLost(steps, end);
  }

  #forget(head: PartitionHead): void {
    this.#pending.steps.delete(head);
    head.forget();
    if (this.#pending.steps.size > 0) return;
    // What was handled for it is gone with it: nobody may wait for room that an empty batch seems to take.
    this.#pending = new PendingBatch();
    for (const resolve of this.#room.splice(0)) resolve();
  }
}

/** A step as it was when its batch was closed: handlers go on on top of it. */
interface Prepared {
  readonly step: Step;
  readonly move: PartitionMove;
  readonly written: WrittenStep;
}

const moveOf = ({ head, from, revision, checkpoint, failure, blockedCount }: Step): PartitionMove => ({
  ...head.ref,
  from,
  to: { checkpoint, revision },
  failure,
  blockedCount,
});

/** Called when nothing was handled on top of the step yet. */
function writtenOf({ head, build, revision, checkpoint, changed, deadLetters, side }: Step): WrittenStep {
  const { partition } = head.ref;
  const documents = Array.from(changed, ([key, state]) => documentOf(key, partition, state));
  const blockedCount = head.blocked.size;
  return { build, partition, revision, checkpoint, documents, side, deadLetters, blockedCount };
}

function sideOf(steps: readonly Step[]): SideWrites | undefined {
  const sides = steps.flatMap(({ side }) => side ?? []);
  if (sides.length < 2) return sides[0];
  const together = new SideWrites();
  for (const side of sides) together.merge(side);
  return together;
}

/** By collection: one command for all partitions of a view. */
export function writesOf(steps: readonly Pick<WrittenStep, 'build' | 'documents'>[]): readonly ViewWrites[] {
  const byCollection = new Map<string, { build: ViewBuild; documents: ViewDocument[] }>();
  for (const { build, documents } of steps) {
    if (documents.length === 0 || build === undefined) continue;
    const name = viewCollectionName(build);
    const known = byCollection.get(name);
    if (known === undefined) byCollection.set(name, { build, documents: [...documents] });
    else known.documents.push(...documents);
  }
  return [...byCollection.values()];
}
