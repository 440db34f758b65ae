import { MillraceError } from '../../errors.ts';
import { type Stretch, stretchOf } from '../partitions/stretch.ts';
import type { ObserverRunnerOptions } from './observer-options.ts';
import type { ObserverPartition } from './observer-partition.ts';

type Options = Pick<ObserverRunnerOptions, 'model' | 'consumer' | 'partitionCount' | 'decode' | 'reader'>;

const STRETCH_MAX_EVENTS = 1_000;

/**
 * Reads the log on for partitions that have room: from where the last of them is, and once more for those that this does not reach.
 * Events up to `replayUntil` were handled before a reset and are passed over, unless the observer repeats them.
 */
export async function readOn(
  options: Options,
  ready: readonly ObserverPartition[],
  replayUntil: number,
): Promise<void> {
  const { reader } = options;
  for (const partition of ready) {
    if (partition.stuck !== undefined && partition.head.dirty && !partition.head.idle) partition.stuck = undefined;
  }
  let wanting = ready.filter((partition) => partition.wants(reader.end));
  for (let turn = 0; turn < 2 && wanting.length > 0; turn++) {
    const after = Math.min(...wanting.map(({ scanned }) => scanned));
    const events = await reader.read(after, STRETCH_MAX_EVENTS);
    const to = events.at(-1)?._id ?? after;
    if (to === after && after < reader.end) {
      throw new MillraceError(
        'INTERNAL',
        `The log cannot be read after ${after}, though it has been heard to go further.`,
      );
    }
    // Released meanwhile, a partition has let go of events that lie before these.
    const still = wanting.filter((partition) => partition.scanned >= after && partition.wants(reader.end));
    const near = still.filter(({ scanned }) => scanned <= to);
    const stretch = stretchOf({ ...options, events, heads: near });
    for (const partition of near) take(partition, stretch, to, options.consumer.run.replays ? 0 : replayUntil);
    wanting = still.filter((partition) => !near.includes(partition));
  }
}

/** Takes as many events in hand as there is room for. */
function take(
  partition: ObserverPartition,
  stretch: Stretch<ObserverPartition>,
  to: number,
  passedUntil: number,
): void {
  const { window, head } = partition;
  const tasks = (stretch.tasks.get(partition) ?? []).filter(({ document, keys }) => {
    if (document._id <= passedUntil) return false;
    // Of a blocked key up to its failing event: handled before a reset.
    return keys.some((key) => document._id > (head.blocked.get(key)?.position ?? -1));
  });
  const taken = tasks.slice(0, partition.room);
  for (const { keys, ...task } of taken) for (const key of keys) window.add({ ...task, key });
  const next = tasks[taken.length];
  const stuck = stretch.stuck.get(partition);
  if (next !== undefined) partition.scanned = next.document._id - 1;
  else if (stuck !== undefined) {
    partition.scanned = stuck.position - 1;
    partition.stuck = stuck;
  } else partition.scanned = Math.max(partition.scanned, to);
}
