import type { ConsumerModel } from '../../define/model.ts';
import type { StartFrom } from '../../define/start-from.ts';
import { MillraceError } from '../../errors.ts';
import type { Reset } from '../../store/consumer-controls.ts';
import type { PartitionReset } from '../../store/partition-reset.ts';
import { viewCollectionName } from '../../store/view-documents.ts';
import type { ResetOptions, ResetPreview } from '../contract/operators.ts';

/** What a reset means for this kind of consumer. */
export interface ResetPlan extends Pick<PartitionReset, 'position' | 'documents' | 'deadLetters'> {
  readonly kind: ConsumerModel['kind'];
  readonly logEnd: number;
  /** Events between where it is and the position that will never be handled. */
  readonly skippedCount: number;
  readonly dropInstances: boolean;
  readonly repeatEffects: boolean;
  /** Observers: events up to here are passed without running handlers; undefined: none. */
  readonly replayUntil: number | undefined;
}

/**
 * - A projector begins as if it were new there: its documents and dead letters are removed.
 * - A saga keeps its instances when it moves forward. To the past it goes only with `dropInstances`: instances, timers and
 *   dead letters are removed; commands that it sends again have the ids of the first time, so they are answered and not done twice.
 * - An observer keeps its dead letters. To the past it passes what it had handled before, unless `repeatEffects`, or its own
 *   `replays`: then dead letters after the position are removed, since their events come again.
 *
 * Throws BAD_INPUT for a saga that would go back with its instances.
 */
export function planReset(input: {
  readonly consumer: ConsumerModel;
  readonly position: number;
  readonly logEnd: number;
  readonly checkpoints: readonly { readonly checkpoint: number }[];
  readonly options: ResetOptions;
  /** A reset that was begun and never ended: partitions may stand where it moved them. */
  readonly unfinished: Reset | undefined;
}): ResetPlan {
  const { consumer, position, logEnd, checkpoints, options, unfinished } = input;
  const { name, generation, kind } = consumer;
  const behind = Math.min(logEnd, ...checkpoints.map(({ checkpoint }) => checkpoint));
  const ahead = Math.max(0, ...checkpoints.map(({ checkpoint }) => checkpoint));
  const repeatsOnward = unfinished?.repeatEffects === true && unfinished.position === position;
  const backward = position < ahead || repeatsOnward;
  const common = { kind, position, logEnd, skippedCount: Math.max(0, position - behind) };
  const nothing = { dropInstances: false, repeatEffects: false, replayUntil: undefined };
  if (consumer.kind === 'projector') {
    const collection = viewCollectionName({ view: consumer.projector.into.name, generation });
    return { ...common, ...nothing, documents: { collection, how: 'bury' }, deadLetters: 'all' };
  }
  if (kind === 'saga') {
    if (options.dropInstances === true) {
      const collection = viewCollectionName({ view: name, generation, kind: 'saga' });
      return {
        ...common,
        ...nothing,
        dropInstances: true,
        documents: { collection, how: 'remove' },
        deadLetters: 'all',
      };
    }
    if (!backward) return { ...common, ...nothing, documents: undefined, deadLetters: 'none' };
    throw new MillraceError(
      'BAD_INPUT',
      `Saga "${name}" has handled events up to ${ahead}: its instances would get those after ${position} again. Reset it forward, or pass dropInstances to begin with no instances.`,
      { details: { position, handledUpTo: ahead } },
    );
  }
  if (!backward) return { ...common, ...nothing, documents: undefined, deadLetters: 'none' };
  const repeatEffects = options.repeatEffects === true || (consumer.kind === 'observer' && consumer.run.replays);
  return {
    ...common,
    ...nothing,
    documents: undefined,
    repeatEffects,
    deadLetters: repeatEffects ? 'later' : 'none',
    // The least of all partitions: an event is rather handled twice than never.
    replayUntil: repeatEffects ? undefined : behind,
  };
}

/** What a reset does, in words for whoever is about to do it. */
export function effectsOf(
  plan: ResetPlan,
  counts: Pick<ResetPreview, 'eventCount' | 'documentCount' | 'deadLetterCount' | 'skippedCount'>,
): readonly string[] {
  const { eventCount, documentCount, deadLetterCount, skippedCount } = counts;
  const { kind, position, replayUntil, repeatEffects, dropInstances } = plan;
  const effects = [`Handling begins after position ${position}; ${eventCount} events of the log follow.`];
  if (kind === 'projector') {
    effects.push(
      `All ${documentCount} documents of the view are removed; it fills again from there, and readers see it fill.`,
    );
    if (position > 0) effects.push(`Events up to position ${position} will be missing in the view.`);
  }
  if (dropInstances) {
    effects.push(
      `All ${documentCount} instances and their timers are removed. Commands that are sent again have the ids of the first time and are not done twice.`,
    );
  }
  if (kind === 'saga' && !dropInstances) effects.push('Instances and timers stay as they are.');
  if (kind !== 'projector' && skippedCount > 0) effects.push(`${skippedCount} events are passed and never handled.`);
  if (replayUntil !== undefined) {
    effects.push(`Events up to position ${replayUntil} were handled before and are passed without side effects.`);
  }
  if (repeatEffects) effects.push('Side effects of events that were handled before happen again.');
  if (deadLetterCount > 0) effects.push(`${deadLetterCount} dead letters are removed with what waits behind them.`);
  return effects;
}

/** Throws BAD_INPUT. */
export function checkStart(to: StartFrom): void {
  if (to === 'start' || to === 'now') return;
  if (typeof to === 'object' && to !== null) {
    if ('position' in to && Number.isSafeInteger(to.position) && to.position >= 0) return;
    if ('time' in to && to.time instanceof Date && !Number.isNaN(to.time.getTime())) return;
  }
  throw new MillraceError(
    'BAD_INPUT',
    'Say where to begin: at the start, now, after a position (a whole number from 0) or at a time.',
    { details: { field: 'to' } },
  );
}
