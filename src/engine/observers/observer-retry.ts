import type { AnyRecorded } from '../../define/event.ts';
import type { RetryJob, RetryOutcome } from '../../queue/retries.ts';
import type { DeadLetterDocument } from '../../store/documents.ts';
import type { Errand, WaitingEvent } from '../partitions/errand.ts';
import { type RetryEnd, retryCheck, retryErrand, type Tried } from '../partitions/retry-errand.ts';
import { DISTURBED_MS, type DoErrand, outcomeOfEnd, type RetryFailed } from '../partitions/retry-work.ts';
import type { TryEnd } from './observer-tries.ts';

export interface ObserverRetryDeps {
  readonly logId: string;
  readonly errand: DoErrand;
  readonly handles: (type: string) => boolean;
  /** One try of the handler. */
  readonly try: (event: AnyRecorded, attempt: number) => Promise<TryEnd>;
  /** Around the try of the record's own event. */
  readonly withCare: (record: DeadLetterDocument, run: () => Promise<TryEnd>) => Promise<TryEnd>;
  readonly onFailed: (end: RetryFailed) => void;
}

/** What was handled is written down after so long or so many events at the latest: a killed process does these again. */
const WRITE_AFTER_MS = 1_000;
const WRITE_AFTER_COUNT = 32;

interface Look {
  readonly end: RetryEnd | undefined;
  readonly record: DeadLetterDocument | undefined;
  readonly waiting: readonly WaitingEvent[];
}

/**
 * A try of an observer's dead letter. Handlers take their time, so they do not run in the partition's turn: first a look at what
 * waits, then the tries, then one transaction with what came of them, which counts only if nobody else moved the dead letter
 * meanwhile. Never throws.
 */
export async function runObserverRetry(deps: ObserverRetryDeps, job: RetryJob): Promise<RetryOutcome> {
  const { logId, errand, onFailed } = deps;
  const options = { logId, deadLetter: job.deadLetter, delivery: job.delivery };
  const look: Errand<Look> = {
    of: { deadLetter: job.deadLetter },
    waiting: true,
    run: (desk) => ({ end: retryCheck(options, desk), record: desk.record, waiting: desk.waiting }),
  };
  try {
    for (;;) {
      const { end, record, waiting } = await errand(job.partition, look);
      if (end !== undefined || record === undefined) return outcomeOfEnd(end ?? { kind: 'gone' }, onFailed);
      const { tried, laterMs } = await tryAll(deps, record, waiting);
      if (tried.size > 0) {
        const written = await errand(job.partition, retryErrand({ ...options, tried }));
        if (written.kind !== 'more') return outcomeOfEnd(written, onFailed);
      }
      if (laterMs !== undefined) return { kind: 'later', delayMs: laterMs };
    }
  } catch {
    return { kind: 'later', delayMs: DISTURBED_MS };
  }
}

/** In order, until one fails, cannot be tried now, or it is time to write. */
async function tryAll(
  deps: ObserverRetryDeps,
  record: DeadLetterDocument,
  waiting: readonly WaitingEvent[],
): Promise<{ readonly tried: ReadonlyMap<number, Tried>; readonly laterMs: number | undefined }> {
  const tried = new Map<number, Tried>();
  const since = performance.now();
  for (const [index, { position, decode }] of waiting.entries()) {
    if (tried.size >= WRITE_AFTER_COUNT || performance.now() - since > WRITE_AFTER_MS) break;
    const end =
      index === 0
        ? await deps.withCare(record, () => tryOne(deps, decode, record.attempts + 1))
        : await tryOne(deps, decode, 1);
    if (end.kind === 'postponed') return { tried, laterMs: end.againInMs };
    if (end.kind === 'stopped') return { tried, laterMs: DISTURBED_MS };
    tried.set(position, end);
    if (end.kind === 'failed') break;
  }
  return { tried, laterMs: undefined };
}

async function tryOne(
  { handles, try: run }: ObserverRetryDeps,
  decode: () => AnyRecorded,
  attempt: number,
): Promise<TryEnd> {
  let event: AnyRecorded;
  try {
    event = decode();
  } catch (error) {
    return { kind: 'failed', error };
  }
  // What newer code no longer handles does nothing.
  return handles(event.type) ? run(event, attempt) : { kind: 'done' };
}
