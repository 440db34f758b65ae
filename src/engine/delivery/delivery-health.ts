import type { ConsumerModel, Model } from '../../define/model.ts';
import type { BlockedSummary } from '../../store/dead-letters.ts';
import type { DeliveryStore } from '../../store/delivery-store.ts';
import type { PartitionReading } from '../../store/partitions.ts';
import type { Readiness } from '../contract/runtime.ts';
import { newestUnplaced } from '../sequencing/placement-scan.ts';
import { sequencerLease } from '../sequencing/sequencer.ts';

/** How far a consumer generation has come. */
export interface ConsumerLag {
  readonly consumer: string;
  readonly generation: number;
  /** Everything up to here is handled in all partitions. */
  readonly position: number;
  /** Newest position in the log. */
  readonly end: number;
  /** `end - position`; partitions without events follow within a second or two. */
  readonly eventCount: number;
  readonly caughtUp: boolean;
  readonly partitions: readonly PartitionReading[];
}

type HealthStore = Pick<
  DeliveryStore,
  'logId' | 'log' | 'feed' | 'leases' | 'partitions' | 'placement' | 'deadLetters'
>;

/** Lag of all consumers of these modules; one read of the log's end and one of the partitions. */
export async function consumerLag(
  store: Pick<DeliveryStore, 'log' | 'partitions'>,
  model: { readonly consumers: readonly Pick<ConsumerModel, 'name' | 'generation'>[] },
): Promise<readonly ConsumerLag[]> {
  const generations = model.consumers.map(({ name, generation }) => ({ consumer: name, generation }));
  const end = await store.log.end();
  const readings = await store.partitions.read(generations);
  return generations.map(({ consumer, generation }) => {
    const partitions = readings.filter((reading) => reading.consumer === consumer && reading.generation === generation);
    const position = partitions.length === 0 ? 0 : Math.min(end, ...partitions.map(({ checkpoint }) => checkpoint));
    return { consumer, generation, position, end, eventCount: end - position, caughtUp: position >= end, partitions };
  });
}

/** Longer without anybody who places commits is worth a reason. */
const LEADERLESS_MS = 5_000;

/** Why delivery is degraded, in words for `/ready`; empty when it is not. Throws when MongoDB cannot be read. */
export async function deliveryHealth(store: HealthStore, model: Pick<Model, 'consumers'>): Promise<Readiness> {
  const reasons = [...(await failingPartitions(store, model)), ...(await placingTroubles(store))];
  return { status: reasons.length === 0 ? 'ready' : 'degraded', reasons };
}

async function failingPartitions(store: HealthStore, model: Pick<Model, 'consumers'>): Promise<readonly string[]> {
  const generations = model.consumers.map(({ name, generation }) => ({ consumer: name, generation }));
  const readings = await store.partitions.read(generations);
  const blocked = generations.filter((of) =>
    readings.some(
      ({ consumer, generation, blockedCount }) =>
        blockedCount > 0 && consumer === of.consumer && generation === of.generation,
    ),
  );
  const waiting = blocked.length === 0 ? [] : await store.deadLetters.summaries(blocked);
  const standing = readings.flatMap(({ consumer, generation, partition, failure }) => {
    if (failure === undefined) return [];
    const { key, position, eventType, code, message, attempts, since } = failure;
    return [
      `consumer "${consumer}" (generation ${generation}) stands still in partition ${partition} at position ${position}: ` +
        `${eventType} for key "${key}" fails with ${code} (${message}) since ${since.toISOString()}, ${attempts} attempts`,
    ];
  });
  const paused = generations.filter((of) =>
    readings.some((one) => one.paused && one.consumer === of.consumer && one.generation === of.generation),
  );
  const resting = paused.map(
    ({ consumer, generation }) => `consumer "${consumer}" (generation ${generation}) is paused by an operator`,
  );
  return [...standing, ...resting, ...waiting.map(reasonOf)];
}

function reasonOf({ consumer, generation, deadCount, retryingCount, parkedCount, example }: BlockedSummary): string {
  const { key, position, inputType, error, firstFailedAt, attempts } = example;
  const message =
    error.message.length > MESSAGE_MAX_LENGTH ? `${error.message.slice(0, MESSAGE_MAX_LENGTH)}…` : error.message;
  return (
    `consumer "${consumer}" (generation ${generation}): ${deadCount} keys are dead and ${retryingCount} are tried again, ` +
    `${parkedCount} events wait behind them; for example ${inputType} at position ${position} for key "${key}" failed with ` +
    `${error.code} (${message.replace(/\s+/g, ' ')}) since ${firstFailedAt.toISOString()}, ${attempts} attempts`
  );
}
const MESSAGE_MAX_LENGTH = 200;

async function placingTroubles(store: HealthStore): Promise<readonly string[]> {
  const [lease, state] = await Promise.all([store.leases.state(sequencerLease(store.logId)), store.placement.load()]);
  const reasons = (state?.held ?? []).map(
    ({ stream, version, since }) =>
      `stream "${stream}" is held since ${since.toISOString()}: the commit with version ${version} is missing; run \`millrace verify\``,
  );
  const leaderless = lease === undefined || (lease.holder === undefined && lease.ranOutMs > LEADERLESS_MS);
  if (leaderless && (await newestUnplaced(store)).length > 0) {
    reasons.push('commits wait for their place in the log and no process places them: start a worker');
  }
  return reasons;
}
