import type { Model } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import { atMost } from '../../queue/at-most.ts';
import type { ServedViewDocument } from '../../store/documents.ts';
import { consumerId } from '../../store/partitions.ts';
import type { ServedViewStore } from '../../store/served-views.ts';
import { repeat } from '../concurrency/repeat.ts';
import type { HintBus } from '../log/hint-bus.ts';

/** Reads of a view go over from one generation to another in this process. */
export interface ViewChangeover {
  readonly view: string;
  readonly from: number;
  readonly to: number;
}

/**
 * Which generation of each view this process reads, of those that were swapped in: its code's own, or the highest below it (not above
 * `previous`, where the code names one). It follows MongoDB; a hint only says when to look.
 */
export interface ServedViews {
  generationOf(view: string): number;
  /** Ids (of `consumers`) of the generations that it reads, for the record of this process. */
  ids(): readonly string[];
  /** Called before reads go over, and waited for. Returns how to stop. */
  before(listener: (change: ViewChangeover) => Promise<void>): () => void;
  /** Called right after. A listener must not throw. */
  after(listener: (change: ViewChangeover) => void): () => void;
  close(): Promise<void>;
}

const POLL_MS = 1_000;
const END_MAX_MS = 500;

/**
 * What a process with this version of a projector reads, of what was swapped in; its own where nothing fits. Until that is swapped in,
 * `previous` says what it follows: a generation between the two may be one that was given up.
 */
export function servedGeneration(
  {
    generation,
    previous,
  }: { readonly generation: number; readonly previous?: { readonly generation: number } | undefined },
  swaps: readonly Pick<ServedViewDocument['swaps'][number], 'generation'>[] = [],
): number {
  const fitting = swaps.filter((one) => one.generation <= generation).map((one) => one.generation);
  if (fitting.length === 0 || fitting.includes(generation)) return generation;
  const followed = previous === undefined ? [] : fitting.filter((one) => one <= previous.generation);
  return Math.max(...(followed.length === 0 ? fitting : followed));
}

/** Resolves when it knows. Throws what the first read of MongoDB throws. */
export async function followServedViews(deps: {
  readonly logId: string;
  readonly model: Pick<Model, 'projectorOf'>;
  readonly store: Pick<ServedViewStore, 'list'>;
  readonly hints: Pick<HintBus, 'listen'>;
  readonly logger: Logger;
}): Promise<ServedViews> {
  const { logId, model, store, hints, logger } = deps;
  const served = new Map<string, number>();
  const befores = new Set<(change: ViewChangeover) => Promise<void>>();
  const afters = new Set<(change: ViewChangeover) => void>();

  const changes = async (): Promise<readonly ViewChangeover[]> => {
    const found = new Map((await store.list()).map((document) => [document.view, document.swaps]));
    return [...model.projectorOf].flatMap(([view, projector]) => {
      const to = servedGeneration(projector, found.get(view));
      const from = served.get(view) ?? to;
      return from === to && served.has(view) ? [] : [{ view, from, to }];
    });
  };
  const goOver = async (change: ViewChangeover): Promise<void> => {
    for (const listener of befores) await listener(change);
    served.set(change.view, change.to);
    for (const listener of afters) listener(change);
    logger.info(change, 'reads of a view went over to another generation');
  };
  for (const { view, to } of await changes()) served.set(view, to);
  const round = async (): Promise<number> => {
    try {
      await Promise.all((await changes()).map(goOver));
    } catch (error) {
      logger.debug({ error: String(error) }, 'which generations are read could not be looked up');
    }
    return POLL_MS;
  };
  const rounds = repeat(round, { firstMs: POLL_MS });
  const unlisten = hints.listen((hint) => {
    if (hint.kind === 'swap') rounds.now();
  });
  const listenTo = <T>(listeners: Set<T>, listener: T) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };
  return {
    generationOf: (view) => served.get(view) ?? model.projectorOf.get(view)?.generation ?? 0,
    ids: () =>
      [...served].flatMap(([view, generation]) => {
        const consumer = model.projectorOf.get(view)?.name;
        return consumer === undefined ? [] : [consumerId(logId, { consumer, generation })];
      }),
    before: (listener) => listenTo(befores, listener),
    after: (listener) => listenTo(afters, listener),
    async close() {
      unlisten();
      await atMost(END_MAX_MS, rounds.stop());
    },
  };
}
