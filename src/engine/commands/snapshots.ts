import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { AggregateModel } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import type { SnapshotDocument } from '../../store/documents.ts';
import type { SnapshotStore } from '../../store/snapshots.ts';
import type { LoadedAggregate } from './aggregate-cache.ts';

/** Changes whenever the platform folds or keeps states in another way. */
const FORMAT = 2;
/** Larger states are not kept: MongoDB takes 16 MB a document. */
const STATE_MAX_LENGTH = 4_000_000;
/** Snapshots that wait to be written; more are left out. */
const PENDING_MAX_COUNT = 100;

/** The commit that a snapshot ends with. */
export interface SnapshotEnd {
  readonly id: string;
  /** Of its first event. */
  readonly version: number;
}

/** A state as a snapshot holds it. */
export interface RestoredState extends LoadedAggregate {
  readonly commit: SnapshotEnd;
  readonly check: string;
}

/**
 * Snapshots of long streams, for aggregates that ask for them. Never in the way of a command: they are written afterwards, one after the
 * other, and what fails is left.
 */
export class Snapshots {
  readonly #store: SnapshotStore;
  readonly #logger: Logger;
  readonly #shapes = new WeakMap<AggregateModel, string>();
  /** The newest of each stream. */
  readonly #pending = new Map<string, () => SnapshotDocument | undefined>();
  /** Those that are of another history, by stream: removed before anything is written. */
  readonly #refuted = new Map<string, string>();
  readonly #warned = new Set<string>();
  #writing: Promise<void> | undefined;

  constructor(store: SnapshotStore, logger: Logger) {
    this.#store = store;
    this.#logger = logger;
  }

  /** The stream's snapshot where there is one that today's code would have made; to be checked against its commit. */
  async find(aggregate: AggregateModel, stream: string): Promise<RestoredState | undefined> {
    if (aggregate.snapshot === undefined) return undefined;
    const found = await this.#store.find(stream);
    if (found === undefined || found.shape !== this.#shapeOf(aggregate) || found.check !== checkOf(found))
      return undefined;
    const { version, commitVersion, commitId, closed, check } = found;
    return { state: JSON.parse(found.state), version, closed, check, commit: { id: commitId, version: commitVersion } };
  }

  /** The commit that it ends with is not there: it goes, or none would be kept until the stream is longer than it was. */
  refuted(stream: string, check: string): void {
    if (this.#refuted.size >= PENDING_MAX_COUNT) return;
    this.#refuted.set(stream, check);
    this.#begin();
  }

  /**
   * A state whose last commit, `end`, the majority has acknowledged. Kept when a multiple of `every` lies between `before` and it.
   */
  offer(
    aggregate: AggregateModel,
    stream: string,
    before: number,
    { state, version, closed }: LoadedAggregate,
    end: SnapshotEnd,
  ): void {
    const { snapshot } = aggregate;
    if (snapshot === undefined || Math.floor(version / snapshot.every) === Math.floor(before / snapshot.every)) return;
    if (this.#pending.size >= PENDING_MAX_COUNT && !this.#pending.has(stream)) return;
    this.#pending.set(stream, () => {
      const text = this.#textOf(aggregate, state);
      if (text === undefined) return undefined;
      const shape = this.#shapeOf(aggregate);
      const last = { commitVersion: end.version, commitId: end.id };
      const made = { _id: stream, version, ...last, closed, shape, state: text, at: new Date() };
      return { ...made, check: checkOf(made) };
    });
    this.#begin();
  }

  /** Resolves when what was offered or refuted is written, or given up. */
  async idle(): Promise<void> {
    await this.#writing;
  }

  #begin(): void {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  async #write(): Promise<void> {
    for (;;) {
      // After the answer to the command.
      await new Promise((resolve) => setImmediate(resolve));
      const [refuted] = this.#refuted;
      const [next] = this.#pending;
      if (refuted !== undefined) await this.#remove(...refuted);
      else if (next !== undefined) await this.#put(...next);
      else return;
    }
  }

  async #remove(stream: string, check: string): Promise<void> {
    this.#refuted.delete(stream);
    try {
      await this.#store.remove(stream, check);
    } catch (error) {
      this.#logger.debug({ stream, error: String(error) }, 'a snapshot of another history was not removed');
    }
  }

  async #put(stream: string, make: () => SnapshotDocument | undefined): Promise<void> {
    this.#pending.delete(stream);
    try {
      const snapshot = make();
      if (snapshot !== undefined) await this.#store.put(snapshot);
    } catch (error) {
      this.#logger.debug({ stream, error: String(error) }, 'a snapshot was not written');
    }
  }

  /** Only what JSON gives back as it was: a Date or a Map would come back as something else. */
  #textOf({ name }: AggregateModel, state: unknown): string | undefined {
    const text: string | undefined = JSON.stringify(state);
    const reason =
      text === undefined || !isDeepStrictEqual(JSON.parse(text), state)
        ? 'its state is not plain JSON (no dates, maps, classes or undefined fields)'
        : text.length > STATE_MAX_LENGTH
          ? `its state has more than ${STATE_MAX_LENGTH} characters`
          : undefined;
    if (reason === undefined) return text;
    if (!this.#warned.has(name)) {
      this.#warned.add(name);
      this.#logger.warn({ aggregate: name }, `no snapshot of aggregate "${name}" is kept: ${reason}`);
    }
    return undefined;
  }

  #shapeOf(aggregate: AggregateModel): string {
    const known = this.#shapes.get(aggregate);
    if (known !== undefined) return known;
    const { version, reducer } = aggregate.snapshot ?? { version: 0, reducer: '' };
    const shape = hashOf([FORMAT, aggregate.name, version, reducer]);
    this.#shapes.set(aggregate, shape);
    return shape;
  }
}

const hashOf = (parts: readonly unknown[]): string => createHash('sha256').update(JSON.stringify(parts)).digest('hex');

/** Tells one that somebody changed, or wrote in part. */
const checkOf = ({
  _id,
  version,
  commitVersion,
  commitId,
  closed,
  shape,
  state,
}: Omit<SnapshotDocument, 'check' | 'at'>): string =>
  hashOf([_id, version, commitVersion, commitId, closed, shape, state]);
