import type { Model } from '../../define/model.ts';
import type { DeadLetterCount } from '../../store/dead-letter-reads.ts';
import type { DeliveryStore } from '../../store/delivery-store.ts';
import type { ConsumerDocument, ServedViewDocument } from '../../store/documents.ts';
import type { Instance } from '../../store/instances.ts';
import { consumerId, type GenerationRef } from '../../store/partitions.ts';
import type { Rebuild } from '../contract/rebuild.ts';
import { type ConsumerLag, consumerLag } from '../delivery/delivery-health.ts';
import { isLiving } from '../processes/membership.ts';
import { servedGeneration } from '../views/served-views.ts';
import { type Pace, rebuildPaces } from './rebuild-pace.ts';

export interface RebuildFound {
  readonly rebuild: Rebuild;
  readonly ref: GenerationRef;
  readonly older: GenerationRef;
  readonly document: ConsumerDocument;
  /** What keeps it from being swapped in and does not pass by itself. */
  readonly obstacles: readonly string[];
}

type Store = Pick<DeliveryStore, 'logId' | 'log' | 'partitions' | 'operators' | 'instances'>;

/** How rebuilds stand, from what MongoDB holds; only their pace is this process's own. */
export function rebuildStates({ store, model }: { readonly store: Store; readonly model: Model }) {
  const { logId, operators } = store;
  const paces = rebuildPaces();
  const list = async (): Promise<readonly RebuildFound[]> => {
    const [views, documents, counts, instances] = await Promise.all([
      operators.views.list(),
      operators.consumers.list(),
      operators.deadLetters.counts(),
      store.instances.list(),
    ]);
    const pairs = views.flatMap((view) => pairsOf(view, documents, model));
    const shown = pairs.map(({ document }) => ({ name: document.consumer, generation: document.generation }));
    const lags = pairs.length === 0 ? [] : await consumerLag(store, { consumers: shown });
    const living = instances.filter(isLiving);
    return pairs.map((pair, index) => {
      const { consumer, generation } = pair.document;
      const count = counts.find((one) => one.consumer === consumer && one.generation === generation);
      return foundOf(pair, { logId, model, lag: lags[index], count, living, pace: paceOf(pair, lags[index]) });
    });
  };
  /** Undefined: it does not run, or is read. */
  const paceOf = ({ document, swap }: Pair, { position = 0, end = 0 }: Partial<ConsumerLag> = {}): Pace | undefined => {
    if (swap !== undefined || (document.aborted ?? document.paused) !== undefined) return undefined;
    const { startPosition = 0, startedAt = document.createdAt } = document;
    const began = { position: startPosition, atMs: startedAt.getTime() };
    return paces.look(consumerId(logId, document), { position, end, atMs: Date.now() }, began);
  };
  return { list, forget: paces.forget };
}

interface Facts {
  readonly logId: string;
  readonly model: Model;
  readonly lag: ConsumerLag | undefined;
  readonly count: DeadLetterCount | undefined;
  readonly living: readonly Instance[];
  readonly pace: Pace | undefined;
}

function foundOf({ view, document, older, swap }: Pair, facts: Facts): RebuildFound {
  const { logId, model, lag, count, living, pace } = facts;
  const { consumer, generation, startPosition = 0, createdAt } = document;
  const ref = { consumer, generation };
  const { position = 0, end = 0, caughtUp = false } = lag ?? {};
  const runnerCount = living.filter(({ consumers }) => consumers?.includes(consumerId(logId, ref))).length;
  const behind = !(pace?.isLevel ?? caughtUp);
  const obstacles = swap === undefined ? obstaclesOf({ document, lag, count, runnerCount }) : [];
  const rebuild: Rebuild = {
    projector: consumer,
    view,
    from: older.generation,
    to: generation,
    state: stateName(document, swap !== undefined, behind),
    held: document.aborted ?? document.paused ?? null,
    position,
    logEnd: end,
    percent: swap === undefined ? percentOf(position - startPosition, end - startPosition) : 100,
    ...progressOf(pace, end - position),
    retryingCount: count?.retryingCount ?? 0,
    deadCount: count?.deadCount ?? 0,
    parkedCount: count?.parkedCount ?? 0,
    startedAt: document.startedAt ?? createdAt,
    swappedAt: swap?.at ?? null,
    waitsFor: swap === undefined ? waits(ref, lag, behind, obstacles, byOperator(model, ref)) : [],
    runnerCount,
    readerCount: living.filter(({ serves }) => serves?.includes(consumerId(logId, older))).length,
  };
  return { rebuild, ref, older, document, obstacles };
}

function progressOf(pace: Pace | undefined, left: number): Pick<Rebuild, 'eventsPerSecond' | 'etaSeconds'> {
  if (pace === undefined) return { eventsPerSecond: null, etaSeconds: null };
  const { eventsPerSecond, isLevel } = pace;
  const untilLevel = eventsPerSecond < 1 ? null : Math.round(left / eventsPerSecond);
  return { eventsPerSecond: Math.round(eventsPerSecond), etaSeconds: isLevel ? 0 : untilLevel };
}

interface Pair {
  readonly view: string;
  readonly document: ConsumerDocument;
  /** What is read until the swap, or was. */
  readonly older: GenerationRef;
  readonly swap: ServedViewDocument['swaps'][number] | undefined;
}

/** Generations above the one that is read; and that one, while an older one is kept. */
function pairsOf(
  served: ServedViewDocument,
  documents: readonly ConsumerDocument[],
  { projectorOf }: Pick<Model, 'projectorOf'>,
): readonly Pair[] {
  const { view, consumer, swaps } = served;
  const own = documents.filter((one) => one.consumer === consumer && one.view === view);
  const latest = Math.max(...swaps.map(({ generation }) => generation));
  const wasRead = (generation: number): boolean => swaps.some((one) => one.generation === generation);
  // Who was sent back to an earlier version and names it as `previous` reads that. Of code that is not this process's nobody can tell.
  const known = projectorOf.get(view);
  const readUntil = ({ generation }: ConsumerDocument): number =>
    known?.name === consumer && known.generation === generation ? servedGeneration(known, swaps) : latest;
  const building = own
    .filter(({ generation }) => generation > latest)
    .map((document) => ({ view, document, older: { consumer, generation: readUntil(document) }, swap: undefined }));
  const kept = own.filter(({ generation }) => generation < latest && wasRead(generation)).at(-1);
  const swapped = own.find(({ generation }) => generation === latest);
  if (kept === undefined || swapped === undefined) return building;
  const swap = swaps.find(({ generation }) => generation === latest);
  return [{ view, document: swapped, older: { consumer, generation: kept.generation }, swap }, ...building];
}

function stateName({ aborted, paused }: ConsumerDocument, swapped: boolean, behind: boolean): Rebuild['state'] {
  if (swapped) return 'SWAPPED';
  if (aborted !== undefined) return 'ABORTED';
  if (paused !== undefined) return 'PAUSED';
  return behind ? 'BUILDING' : 'READY';
}

function waits(
  { consumer }: GenerationRef,
  lag: ConsumerLag | undefined,
  behind: boolean,
  obstacles: readonly string[],
  byOperator: boolean,
): readonly string[] {
  if (behind) return [`${lag?.eventCount ?? 'all'} events of the log are not handled yet`, ...obstacles];
  if (obstacles.length > 0 || !byOperator) return obstacles;
  return [`an operator has to swap it in (millrace rebuild swap ${consumer} --reason …)`];
}

function obstaclesOf(of: {
  readonly document: ConsumerDocument;
  readonly lag: ConsumerLag | undefined;
  readonly count: DeadLetterCount | undefined;
  readonly runnerCount: number;
}): readonly string[] {
  const { document, lag, count, runnerCount } = of;
  const { consumer } = document;
  const reasons: string[] = [];
  const stuck = lag?.partitions.filter(({ failure }) => failure !== undefined).length ?? 0;
  if (stuck > 0) reasons.push(`${stuck} partitions stand still (millrace consumers)`);
  if (count !== undefined) {
    const keys = `${count.deadCount} keys are dead and ${count.retryingCount} are tried again`;
    reasons.push(`${keys}, ${count.parkedCount} events wait behind them (millrace dead-letters)`);
  }
  if (document.aborted !== undefined)
    reasons.push(`it was aborted by an operator (millrace rebuild start ${consumer} --reason …)`);
  else if (document.paused !== undefined)
    reasons.push(`it is paused by an operator (millrace rebuild resume ${consumer} --reason …)`);
  if (runnerCount === 0) reasons.push(`no process runs generation ${document.generation}`);
  return reasons;
}

/** As far as this process's code knows. */
function byOperator({ consumers }: Model, { consumer, generation }: GenerationRef): boolean {
  const known = consumers.find((one) => one.name === consumer && one.generation === generation);
  return known?.kind === 'projector' && known.projector.swap === 'byOperator';
}

const percentOf = (done: number, all: number): number =>
  all <= 0 ? 100 : Math.min(100, Math.max(0, Math.floor((done / all) * 1_000) / 10));
