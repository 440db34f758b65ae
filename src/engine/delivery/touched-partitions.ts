import type { ConsumerModel, Model } from '../../define/model.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { PartitionReading, PartitionStore } from '../../store/partitions.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import type { LogReader } from '../log/log-reader.ts';
import { routeEvent } from '../log/route-event.ts';

/** What a run of events means to the partitions of a consumer. */
export interface Touched {
  /** Partitions that have work, and the last position of it. */
  readonly lastPositions: ReadonlyMap<number, number>;
  /** The last event whose keys cannot be told, where it could be any partition's: none goes past it. 0: there is none. */
  readonly stuckAt: number;
}

/** Depends on events and code alone, like routes. */
export function touchedPartitions(
  model: Model,
  consumer: ConsumerModel,
  partitionCount: number,
  decode: DecodeOnce,
  events: readonly LogDocument[],
): Touched {
  const lastPositions = new Map<number, number>();
  let stuckAt = 0;
  for (const event of events) {
    const route = routeEvent(model, consumer, partitionCount, decode, event);
    if (route.kind === 'run') for (const { partition } of route.targets) lastPositions.set(partition, event._id);
    else if (route.kind === 'stuck') {
      lastPositions.set(route.target.partition, event._id);
      if (route.all) stuckAt = event._id;
    }
  }
  return { lastPositions, stuckAt };
}

export interface UntouchedDeps {
  readonly model: Model;
  readonly store: { readonly partitions: Pick<PartitionStore, 'moveEach'> };
  readonly reader: Pick<LogReader, 'read'>;
  readonly decode: DecodeOnce;
  /** Of each consumer, by name. */
  readonly partitionCounts: ReadonlyMap<string, number>;
}

/** Who has a partition in hand moves it by itself after that time at the latest. */
const AT_REST_MS = 500;
/** Further behind, partitions are left to their consumers: it is they who read the log then. */
const NEAR_POSITIONS = 1_000;

/**
 * Moves partitions over events that are none of theirs. Where several processes run a consumer, nobody has those in hand that have no
 * work, and their consumer would seem to lag. Returns those that it tried to move. Throws what MongoDB throws; nothing is lost then.
 */
export async function moveUntouched(
  { model, store, reader, decode, partitionCounts }: UntouchedDeps,
  lagging: readonly PartitionReading[],
  end: number,
): Promise<ReadonlySet<PartitionReading>> {
  const near = lagging.filter(
    ({ checkpoint, failure, paused, idleMs }) =>
      failure === undefined && !paused && idleMs >= AT_REST_MS && end - checkpoint <= NEAR_POSITIONS,
  );
  if (near.length === 0) return new Set();
  const events = await reader.read(Math.min(...near.map(({ checkpoint }) => checkpoint)), NEAR_POSITIONS);
  const to = events.at(-1)?._id ?? 0;
  const untouched = model.consumers.flatMap((consumer) => {
    const { name, generation } = consumer;
    const partitionCount = partitionCounts.get(name);
    const own = near.filter((one) => one.consumer === name && one.generation === generation && one.checkpoint < to);
    if (own.length === 0 || partitionCount === undefined) return [];
    const { lastPositions, stuckAt } = touchedPartitions(model, consumer, partitionCount, decode, events);
    return own.filter(
      ({ partition, checkpoint }) => Math.max(stuckAt, lastPositions.get(partition) ?? 0) <= checkpoint,
    );
  });
  await store.partitions.moveEach(
    untouched.map(({ consumer, generation, partition, checkpoint, revision }) => ({
      ...{ consumer, generation, partition, failure: undefined },
      ...{ from: { checkpoint, revision }, to: { checkpoint: to, revision } },
    })),
  );
  return new Set(untouched);
}
