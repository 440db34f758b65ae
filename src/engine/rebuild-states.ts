import type { Model } from '../define/model.ts';
import type { DeadLetterCount } from '../store/dead-letter-reads.ts';
import type { DeliveryStore } from '../store/delivery-store.ts';
import type { ConsumerDocument, ServedViewDocument } from '../store/documents.ts';
import type { Instance } from '../store/instances.ts';
import { consumerId, type GenerationRef } from '../store/partitions.ts';
import { type ConsumerLag, consumerLag } from './delivery-health.ts';
import { isLiving } from './membership.ts';
import type { Rebuild } from './rebuild-contract.ts';
import { servedGeneration } from './served-views.ts';

export interface RebuildFound {
  readonly rebuild: Rebuild;
  readonly ref: GenerationRef;
  readonly older: GenerationRef;
  readonly document: ConsumerDocument;
  /** What keeps it from being swapped in and does not pass by itself. */
  readonly obstacles: readonly string[];
}

/** Progress that was seen, for its speed. */
interface Sample {
  readonly position: number;
  readonly atMs: number;
}
const SAMPLE_MIN_MS = 500;
const SAMPLES_KEPT_MS = 15_000;

type Store = Pick<DeliveryStore, 'logId' | 'log' | 'partitions' | 'operators' | 'instances'>;

/** How rebuilds stand, from what MongoDB holds; only their speed is this process's own. */
export function rebuildStates({ store, model }: { readonly store: Store; readonly model: Model }) {
  const { logId, operators } = store;
  const samples = new Map<string, Sample[]>();

  const speed = (id: string, position: number, startedAt: Date): number => {
    const nowMs = Date.now();
    const kept = (samples.get(id) ?? []).filter(({ atMs }) => nowMs - atMs <= SAMPLES_KEPT_MS);
    const [first] = kept;
    if (nowMs - (kept.at(-1)?.atMs ?? 0) >= SAMPLE_MIN_MS) kept.push({ position, atMs: nowMs });
    samples.set(id, kept);
    const from = first === undefined || nowMs - first.atMs < SAMPLE_MIN_MS ? undefined : first;
    const { position: fromPosition, atMs } = from ?? { position: 0, atMs: startedAt.getTime() };
    return Math.max(0, ((position - fromPosition) * 1_000) / Math.max(1, nowMs - atMs));
  };

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
    return pairs.map((pair, index) => stateOf(pair, lags[index], counts, living));
  };

  const stateOf = (
    { view, document, older, swap }: Pair,
    lag: ConsumerLag | undefined,
    counts: readonly DeadLetterCount[],
    living: readonly Instance[],
  ): RebuildFound => {
    const { consumer, generation, startPosition = 0, createdAt } = document;
    const ref = { consumer, generation };
    const id = consumerId(logId, ref);
    const count = counts.find((one) => one.consumer === consumer && one.generation === generation);
    const { position = 0, end = 0, caughtUp = false } = lag ?? {};
    const startedAt = document.startedAt ?? createdAt;
    const held = document.aborted ?? document.paused;
    const runnerCount = living.filter(({ consumers }) => consumers?.includes(id)).length;
    const perSecond = held === undefined && swap === undefined ? speed(id, position, startedAt) : undefined;
    const behind = !caughtUp;
    const obstacles = swap === undefined ? obstaclesOf({ document, lag, count, runnerCount }) : [];
    const waitsFor = swap === undefined ? waits(lag, behind, obstacles, byOperator(model, ref)) : [];
    const rebuild: Rebuild = {
      projector: consumer,
      view,
      from: older.generation,
      to: generation,
      state: stateName(document, swap !== undefined, behind),
      held: held ?? null,
      position,
      logEnd: end,
      percent: swap === undefined ? percentOf(position - startPosition, end - startPosition) : 100,
      eventsPerSecond: perSecond === undefined ? null : Math.round(perSecond),
      etaSeconds: perSecond === undefined || perSecond < 1 ? null : Math.round((end - position) / perSecond),
      retryingCount: count?.retryingCount ?? 0,
      deadCount: count?.deadCount ?? 0,
      parkedCount: count?.parkedCount ?? 0,
      startedAt,
      swappedAt: swap?.at ?? null,
      waitsFor,
      runnerCount,
      readerCount: living.filter(({ serves }) => serves?.includes(consumerId(logId, older))).length,
    };
    return { rebuild, ref, older, document, obstacles };
  };

  return { list, forget: (id: string) => void samples.delete(id) };
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
  lag: ConsumerLag | undefined,
  behind: boolean,
  obstacles: readonly string[],
  byOperator: boolean,
): readonly string[] {
  if (behind) return [`${lag?.eventCount ?? 'all'} events of the log are not handled yet`, ...obstacles];
  if (obstacles.length > 0 || !byOperator) return obstacles;
  return ['an operator has to swap it in (millrace rebuild swap)'];
}

function obstaclesOf(of: {
  readonly document: ConsumerDocument;
  readonly lag: ConsumerLag | undefined;
  readonly count: DeadLetterCount | undefined;
  readonly runnerCount: number;
}): readonly string[] {
  const { document, lag, count, runnerCount } = of;
  const reasons: string[] = [];
  const stuck = lag?.partitions.filter(({ failure }) => failure !== undefined).length ?? 0;
  if (stuck > 0) reasons.push(`${stuck} partitions stand still (millrace consumers)`);
  if (count !== undefined) {
    const keys = `${count.deadCount} keys are dead and ${count.retryingCount} are tried again`;
    reasons.push(`${keys}, ${count.parkedCount} events wait behind them (millrace dead-letters)`);
  }
  if (document.aborted !== undefined) reasons.push('it was aborted by an operator (millrace rebuild start)');
  else if (document.paused !== undefined) reasons.push('it is paused by an operator (millrace rebuild resume)');
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
