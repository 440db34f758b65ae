import type { ConsumerModel } from '../../define/model.ts';
import { DocumentMissing } from '../../define/write-documents.ts';
import type { DeadLetterDocument } from '../../store/documents.ts';
import type { CommitPipeline, Step } from './commit-pipeline.ts';
import { deadLetterOf, failedEvent } from './dead-letter.ts';
import { ABSENT, changed } from './document-cache.ts';
import type { Handler } from './handler.ts';
import { type Target, targetsOf } from './key-route.ts';
import type { PartitionHead } from './partition-head.ts';
import type { Task } from './stretch.ts';

const ASK_AHEAD_MAX_COUNT = 200;

export interface HandleOptions {
  readonly logId: string;
  readonly consumer: ConsumerModel;
  readonly handler: Handler;
  readonly pipeline: CommitPipeline;
  /** A handler failed: its key is about to be blocked. Also told of tries whose transaction is then lost. */
  readonly onFailing: (record: DeadLetterDocument) => void;
}

/**
 * Runs handlers for a partition's events in order. A key at which one fails is blocked and its later events are parked; the
 * other keys go on. `stoppedAt`: the first event that was not handled, to be looked at again.
 */
export function handleTasks(
  options: HandleOptions,
  head: PartitionHead,
  tasks: readonly Task[],
): { readonly handledCount: number; readonly stoppedAt?: number } {
  let handledCount = 0;
  for (const [index, task] of tasks.entries()) {
    const position = task.document._id;
    if (handledCount > 0 && isForLater(head, position)) return { handledCount, stoppedAt: position };
    const targets = targetsOf(options.handler, head, task.keys);
    // Dropped from memory between reading and here: the next round reads it again.
    if (targets === undefined || targets.some(({ id }) => !head.blocked.has(id) && !head.documents.get(id))) {
      return { handledCount, stoppedAt: position };
    }
    try {
      for (const target of targets) handleOne(options, head, task, target);
    } catch (error) {
      if (!(error instanceof DocumentMissing)) throw error;
      head.wanted.add(error.id);
      if (!head.isWatched) askAhead(options.handler, head, tasks.slice(index + 1, index + 1 + ASK_AHEAD_MAX_COUNT));
      return { handledCount, stoppedAt: position };
    }
    if (head.poison?.position === position) head.poison = undefined;
    handledCount++;
  }
  return { handledCount };
}

/**
 * Runs the handlers of the next events for what they would ask for, as far as that can be told by now: it is read together, not one
 * document after the other. They are pure: what they do and throw here is thrown away.
 */
function askAhead(handler: Handler, head: PartitionHead, tasks: readonly Task[]): void {
  const read = (id: string) => head.documents.get(id);
  for (const { event, keys } of tasks) {
    if (event === undefined) continue;
    for (const key of keys) {
      if (head.blocked.has(key)) continue;
      try {
        handler.handle(event, { key, state: read(key) ?? ABSENT, partition: head.ref.partition, read });
      } catch (error) {
        if (error instanceof DocumentMissing) head.wanted.add(error.id);
      }
    }
  }
}

const isForLater = ({ carefulUntil, watchedUntil, markedUntil }: PartitionHead, position: number): boolean =>
  position <= carefulUntil || (position <= watchedUntil && position > markedUntil);

function handleOne(
  { logId, consumer, handler, pipeline, onFailing }: HandleOptions,
  head: PartitionHead,
  task: Task,
  target: Target,
): void {
  const key = target.id;
  const { partition } = head.ref;
  const position = task.document._id;
  const blocked = head.blocked.get(key);
  if (blocked !== undefined) {
    const step = pipeline.step(head, handler.build);
    pipeline.park(step, blocked, position);
    noteKeys(handler, pipeline, head, step, target);
    return;
  }
  try {
    if (task.event === undefined) throw task.error;
    if (head.poison?.position === position) throw head.poison.error;
    const state = head.documents.get(key) ?? ABSENT;
    const read = (id: string) => head.documents.get(id);
    const effect = handler.handle(task.event, { key, state, partition, keys: target.keys, read });
    // Not before: a partition whose handler is to run again has no part in the transaction yet.
    const step = pipeline.step(head, handler.build);
    step.lastPosition = position;
    for (const [id, next] of effect?.documents ?? []) change(pipeline, head, step, id, next, task.event);
    if (effect?.next !== undefined) change(pipeline, head, step, key, effect.next, task.event);
    if (effect?.side !== undefined) pipeline.beside(step, effect.side);
    for (const lead of effect?.leads ?? []) head.leads.set(lead, key);
  } catch (error) {
    // Not the handler's fault: it is run again once that is read.
    if (error instanceof DocumentMissing) throw error;
    const place = { logId, consumer, partition, key };
    const record = deadLetterOf(place, failedEvent(task.document, error));
    const step = pipeline.step(head, handler.build);
    pipeline.block(step, record);
    noteKeys(handler, pipeline, head, step, target);
    onFailing(record);
  }
}

/** Later events with any of these keys wait behind this one. */
function noteKeys(handler: Handler, pipeline: CommitPipeline, head: PartitionHead, step: Step, target: Target): void {
  const keys = target.keys.filter((key) => head.leads.get(key) !== target.id);
  if (handler.route === undefined || keys.length === 0) return;
  pipeline.beside(step, handler.route.note(keys, target.id, head.ref.partition));
  for (const key of keys) head.leads.set(key, target.id);
}

function change(
  pipeline: CommitPipeline,
  head: PartitionHead,
  step: Step,
  key: string,
  next: Readonly<Record<string, unknown>> | null,
  { position, commandId }: { readonly position: number; readonly commandId: string },
): void {
  const before = head.documents.get(key) ?? ABSENT;
  const state = changed(before, next ?? undefined, { position, revision: step.revision, commandId });
  head.documents.set(key, state);
  pipeline.change(step, key, state);
}
