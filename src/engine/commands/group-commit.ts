import { crashPoint } from '../../crash-points.ts';
import type { CommitStore, CommitWriter, InsertResult, OperationTime } from '../../store/commits.ts';
import type { CommitDocument, RejectionDocument } from '../../store/documents.ts';
import { type RejectionStore, rejectionId } from '../../store/rejections.ts';

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
  /** Writes under way at once. */
  readonly writerCount: number;
  /** Appends that have to wait before a write starts beside another one. */
  readonly besideCount: number;
  readonly batchMaxCount: number;
  readonly batchMaxBytes: number;
}
export const groupCommitDefaults: GroupCommitOptions = {
  writerCount: 3,
  besideCount: 32,
  batchMaxCount: 500,
  batchMaxBytes: 8_000_000,
};

interface Waiting extends AppendRequest {
  readonly resolve: (result: AppendResult) => void;
  /** `performance.now()` when it came. */
  readonly sinceMs: number;
  attempts: number;
}

/** Who waits for so long is not made to wait for a write that may hang. */
const PATIENCE_MS = 50;

/**
 * Group commit: the appends that arrive while a write is under way go together in the next unordered insert. An unknown
 * outcome is answered by inserting the same documents again: the unique indexes let exactly one live. Appends of one
 * stream must not overlap: the next is decided after the previous one was acknowledged.
 *
 * The first append goes at once. Further writes start beside it only when many wait: each costs client and server as
 * much as many commits, and one more write under way buys nothing while the last one is still being journaled.
 */
export class GroupCommit {
  readonly #rejections: RejectionStore;
  readonly #options: GroupCommitOptions;
  readonly #writers: readonly CommitWriter[];
  readonly #idle: CommitWriter[];
  readonly #underWay = new Set<Promise<void>>();
  /** Members that pause before they are inserted again. */
  readonly #pausing = new Set<Promise<void>>();
  #waiting: Waiting[] = [];
  #starting = false;
  #overdue: NodeJS.Timeout | undefined;

  constructor(commits: CommitStore, rejections: RejectionStore, options: GroupCommitOptions = groupCommitDefaults) {
    this.#rejections = rejections;
    this.#options = options;
    this.#writers = Array.from({ length: options.writerCount }, () => commits.writer());
    this.#idle = [...this.#writers];
  }

  append(request: AppendRequest): Promise<AppendResult> {
    return new Promise((resolve) => {
      this.#waiting.push({ ...request, resolve, sinceMs: performance.now(), attempts: 0 });
      this.#startSoon();
    });
  }

  /** Waits for everything that was appended. */
  async close(): Promise<void> {
    while (this.#waiting.length + this.#underWay.size + this.#pausing.size > 0) {
      this.#startSoon();
      await Promise.race([...this.#underWay, ...this.#pausing, pause(PATIENCE_MS)]);
    }
    clearTimeout(this.#overdue);
    await Promise.all(this.#writers.map((writer) => writer.close()));
  }

  /** Appends of the same turn of the event loop belong to the same batch. */
  #startSoon(): void {
    if (this.#starting || this.#waiting.length === 0) return;
    if (!this.#mayStart) {
      this.#overdue ??= setTimeout(() => {
        this.#overdue = undefined;
        this.#startSoon();
      }, PATIENCE_MS);
      return;
    }
    this.#starting = true;
    setImmediate(() => {
      this.#starting = false;
      while (this.#mayStart) this.#start();
      this.#startSoon();
    });
  }

  get #mayStart(): boolean {
    const [oldest] = this.#waiting;
    if (this.#idle.length === 0 || oldest === undefined) return false;
    if (this.#underWay.size === 0 || this.#waiting.length >= this.#options.besideCount) return true;
    return performance.now() - oldest.sinceMs >= PATIENCE_MS;
  }

  #start(): void {
    const writer = this.#idle.pop();
    if (writer === undefined) return;
    const run = this.#write(writer, this.#takeBatch()).finally(() => {
      this.#underWay.delete(run);
      this.#idle.push(writer);
      this.#startSoon();
    });
    this.#underWay.add(run);
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

  /** Never throws. */
  async #write(writer: CommitWriter, batch: Waiting[]): Promise<void> {
    const pending = await this.#withoutRefused(batch);
    if (pending.length === 0) return;
    for (const member of pending) member.attempts++;
    crashPoint('before-append');
    const results = await writer.insert(pending.map((member) => member.commit));
    crashPoint('after-append');
    const again = pending.filter((member, index) => !settle(member, results[index], writer));
    if (again.length === 0) return;
    const pausing = pause(Math.min(50 * 2 ** (again[0]?.attempts ?? 1), 1_000)).then(() => {
      this.#pausing.delete(pausing);
      this.#waiting.unshift(...again);
      this.#startSoon();
    });
    this.#pausing.add(pausing);
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
}

/** False when the member has to be inserted again. */
function settle(member: Waiting, result: InsertResult | undefined, writer: CommitWriter): boolean {
  if (result === undefined || result.kind === 'unknown') {
    const error = result?.error;
    if (Date.now() < member.deadline) return false;
    member.resolve({ kind: 'unknown', error });
  } else if (result.kind === 'taken' && result.by === 'id') {
    // Only this very document has this id: an earlier attempt got through.
    member.resolve({ kind: 'inserted' });
  } else if (result.kind === 'taken') {
    member.resolve({ kind: 'taken', operationTime: writer.operationTime });
  } else if (result.kind === 'failed' && member.attempts > 1) {
    // An earlier attempt may have got through: only an acknowledgement is an answer now.
    member.resolve({ kind: 'unknown', error: result.error });
  } else {
    member.resolve(result);
  }
  return true;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
