import type { BlockedKey, DeadLetterStore } from '../../store/dead-letters.ts';
import type { GenerationRef, PartitionReading, PartitionStore } from '../../store/partitions.ts';
import type { Crashes } from './careful.ts';
import type { PartitionHead } from './partition-head.ts';

/** A partition as the database says, with its blocked keys where they are not known. */
export interface Learned {
  readonly head: PartitionHead;
  readonly reading: PartitionReading;
  readonly blocked: readonly BlockedKey[];
}

/**
 * Reads where these partitions are; their marks only when processes died lately. Those that have no record yet, or were thrown
 * away meanwhile, are left out.
 */
export async function readPartitions(
  of: GenerationRef,
  heads: readonly PartitionHead[],
  store: Pick<PartitionStore, 'read'>,
  deadLetters: Pick<DeadLetterStore, 'blocked'>,
  { crashCount }: Pick<Crashes, 'crashCount'>,
): Promise<readonly Learned[]> {
  const epochs = heads.map(({ epoch }) => epoch);
  const marks = crashCount > 0;
  const readings = await store.read([{ consumer: of.consumer, generation: of.generation }], { marks });
  const found = new Map(readings.map((reading) => [reading.partition, reading]));
  const unknown = heads.filter((head) => {
    const reading = found.get(head.ref.partition);
    return reading !== undefined && reading.blockedCount > 0 && head.brokenAt(reading.revision);
  });
  // Read after the partitions, so they are never older; newer ones cannot be written with what was read here.
  const blocked = unknown.length === 0 ? [] : await deadLetters.blocked(unknown.map(({ ref }) => ref));
  return heads.flatMap((head, index) => {
    const reading = found.get(head.ref.partition);
    if (reading === undefined || head.epoch !== epochs[index]) return [];
    return [{ head, reading, blocked: blocked.filter(({ partition }) => partition === head.ref.partition) }];
  });
}
