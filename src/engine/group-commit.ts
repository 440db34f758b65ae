import { partitionOf } from '../define/partition.ts';
import type { CommitStore, CommitWriter, InsertResult, OperationTime } from '../store/commits.ts';
import type { CommitDocument, RejectionDocument } from '../store/documents.ts';
import { type RejectionStore, rejectionId } from '../store/rejections.ts';

export type AppendResult =
  | { readonly kind: 'inserted' }
  | { readonly kind: 'taken'; readonly operationTime: OperationTime | undefined }
  /** This command was refused earlier; nothing was written. */
  | { readonly kind: 'refused'; readonly rejection: RejectionDocument }
  | { readonly kind: 'failed'; readonly error: unknown }
  /** No answer before the deadline: the commit may or may not live. */
  | { readonly kind: 'unknown'; readonly error: unknown };

export interface AppendRequest {
  readonly commit: CommitDocument;
  readonly bytes: number;
  /** The sender chose the command id, so an earlier refusal may be on record. */
  readonly mayRepeat: boolean;
  /** `Date.now()` after which the outcome is called unknown. */
  readonly deadline: number;
}

export interface GroupCommitOptions {
  /** Writes under way at once; a stream always uses the same lane. */
  readonly laneCount: number;
  readonly batchMaxCount: number;
  readonly batchMaxBytes: number;
}
export const groupCommitDefaults: GroupCommitOptions = { laneCount: 3, batchMaxCount: 500, batchMaxBytes: 8_000_000 };

interface Waiting extends AppendRequest {
  readonly resolve: (result: AppendResult) => void;
  attempts: number;
}

/**
 * Group commit: the appends that arrive while a write is under way go together in the next unordered insert of their
 * lane. An unknown outcome is answered by inserting the same documents again: the unique indexes let exactly one live.
 */
export class GroupCommit {
  readonly #lanes: Lane[];

  constructor(commits: CommitStore, rejections: RejectionStore, options: GroupCommitOptions = groupCommitDefaults) {
    this.#lanes = Array.from({ length: options.laneCount }, () => new Lane(commits.writer(), rejections, options));
  }

  append(request: AppendRequest): Promise<AppendResult> {
    const lane = this.#lanes[partitionOf(request.commit.stream, this.#lanes.length)];
    if (lane === undefined) throw new RangeError('group commit has no lane');
    return lane.append(request);
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.close()));
  }
}

class Lane {
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  readonly #writer: CommitWriter;
  readonly #rejections: RejectionStore;
  readonly #options: GroupCommitOptions;

  constructor(writer: CommitWriter, rejections: RejectionStore, options: GroupCommitOptions) {
    this.#writer = writer;
    this.#rejections = rejections;
    this.#options = options;
  }

  append(request: AppendRequest): Promise<AppendResult> {
    return new Promise((resolve) => {
      this.#waiting.push({ ...request, resolve, attempts: 0 });
      this.#running ??= this.#drain();
    });
  }

  async close(): Promise<void> {
    await this.#running;
    await this.#writer.close();
  }

  async #drain(): Promise<void> {
    // Appends of the same turn of the event loop belong to the same batch.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) await this.#write(this.#takeBatch());
    this.#running = undefined;
  }

  #takeBatch(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const next of this.#waiting) {
      if (count > 0 && (count >= this.#options.batchMaxCount || bytes + next.bytes > this.#options.batchMaxBytes))
        break;
      bytes += next.bytes;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #write(batch: Waiting[]): Promise<void> {
    const pending = await this.#withoutRefused(batch);
    if (pending.length === 0) return;
    for (const member of pending) member.attempts++;
    const results = await this.#writer.insert(pending.map((member) => member.commit));
    const again = pending.filter((member, index) => !this.#settle(member, results[index]));
    if (again.length === 0) return;
    await pause(Math.min(50 * 2 ** (again[0]?.attempts ?? 1), 1_000));
    this.#waiting.unshift(...again);
  }

  /** One majority read for all members whose sender may be repeating; an error here is no answer, the insert decides. */
  async #withoutRefused(batch: Waiting[]): Promise<Waiting[]> {
    const asked = batch.filter((member) => member.mayRepeat && member.attempts === 0);
    if (asked.length === 0) return batch;
    const ids = asked.map((member) => rejectionId(member.commit.stream, member.commit.command.id));
    const found = await this.#rejections.find(ids).catch(() => []);
    if (found.length === 0) return batch;
    const byId = new Map(found.map((rejection) => [rejection._id, rejection]));
    return batch.filter((member) => {
      const rejection = byId.get(rejectionId(member.commit.stream, member.commit.command.id));
      if (rejection === undefined || member.attempts > 0) return true;
      member.resolve({ kind: 'refused', rejection });
      return false;
    });
  }

  /** False when the member has to be inserted again. */
  #settle(member: Waiting, result: InsertResult | undefined): boolean {
    if (result === undefined || result.kind === 'unknown') {
      const error = result?.error;
      if (Date.now() < member.deadline) return false;
      member.resolve({ kind: 'unknown', error });
    } else if (result.kind === 'taken' && result.by === 'id') {
      // Only this very document has this id: an earlier attempt got through.
      member.resolve({ kind: 'inserted' });
    } else if (result.kind === 'taken') {
      member.resolve({ kind: 'taken', operationTime: this.#writer.operationTime });
    } else {
      member.resolve(result);
    }
    return true;
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
