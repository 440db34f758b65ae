import type { Model } from '../../define/model.ts';
import { atMost } from '../../queue/at-most.ts';
import type { Retries } from '../../queue/retries.ts';
import type { ConsumerControlStore } from '../../store/consumer-controls.ts';
import type { DeadLetterRef, DeadLetterStore } from '../../store/dead-letters.ts';
import type { Delivery } from '../delivery/delivery.ts';
import { taskOf } from '../partitions/retry-work.ts';
import type { SweepTask } from './sweep.ts';

export interface RetrySweepOptions {
  readonly logId: string;
  readonly deadLetters: Pick<DeadLetterStore, 'overdue' | 'walk'>;
  /** Says which consumers are paused: their tries are not due. */
  readonly consumers: Pick<ConsumerControlStore, 'list'>;
  readonly model: Model;
  readonly retries: Pick<Retries, 'schedule' | 'available'> | undefined;
  /** Of this process, where it has one. */
  readonly delivery: Pick<Delivery, 'retry'> | undefined;
}

/** A try that is so late has lost its job, or nobody works. */
const OVERDUE_MS = 2_000;
/** A job that exists and does not run, or no Redis: the try is made here. */
const FORSAKEN_MS = 10_000;
const AT_ONCE = 500;
/** A round waits no longer for tries: they go on, and what else the sweep heals must not wait for slow handlers. */
const TRIES_MAX_MS = 1_000;
const WALK_COUNT = 1_000;

/** Heals tries of dead letters whose jobs were lost; after a loss of Redis, all jobs, so that its failed set is whole again. */
export function retrySweep(options: RetrySweepOptions): SweepTask {
  const { deadLetters, model, consumers } = options;
  const underWay = new Set<string>();
  return {
    name: 'dead letters',
    async run({ redisLost }) {
      if (redisLost) await addAll(options);
      const all = await consumers.list();
      const paused = new Set(all.flatMap((one) => (one.paused ? [`${one.generation}/${one.consumer}`] : [])));
      const generations = model.consumers
        .filter(({ name, generation }) => !paused.has(`${generation}/${name}`))
        .map(({ name, generation }) => ({ consumer: name, generation }));
      if (generations.length === 0) return;
      const now = Date.now();
      const overdue = await deadLetters.overdue(generations, new Date(now - OVERDUE_MS), AT_ONCE);
      if (overdue.length === 0) return;
      const added = await schedule(options, overdue);
      // A try of an observer may be under way for as long as its deadline.
      const patienceMs = new Map(
        model.consumers.map((one) => [one.name, FORSAKEN_MS + (one.kind === 'observer' ? one.run.timeoutMs : 0)]),
      );
      const forsaken = overdue.filter(({ consumer, nextAttemptAt }) => {
        const sinceMs = now - (nextAttemptAt?.getTime() ?? now);
        return !added || sinceMs > (patienceMs.get(consumer) ?? FORSAKEN_MS);
      });
      await atMost(TRIES_MAX_MS, tryHere(options, forsaken, underWay));
    },
  };
}

async function addAll(options: RetrySweepOptions): Promise<void> {
  for (let after: string | undefined; ; ) {
    const refs = await options.deadLetters.walk(after, WALK_COUNT);
    if (!(await schedule(options, refs))) throw new Error('Redis went away while jobs were added to it again.');
    after = refs.at(-1)?._id;
    if (refs.length < WALK_COUNT) return;
  }
}

async function schedule({ retries }: RetrySweepOptions, refs: readonly DeadLetterRef[]): Promise<boolean> {
  if (retries === undefined || !retries.available()) return false;
  const byTarget = new Map<string, DeadLetterRef[]>();
  for (const ref of refs) {
    const target = `${ref.version}/${ref.consumer}`;
    const known = byTarget.get(target);
    if (known === undefined) byTarget.set(target, [ref]);
    else known.push(ref);
  }
  let added = true;
  for (const some of byTarget.values()) {
    const [first] = some;
    if (first !== undefined) added = (await retries.schedule(first, some.map(taskOf))) && added;
  }
  return added;
}

async function tryHere(
  { delivery }: RetrySweepOptions,
  refs: readonly DeadLetterRef[],
  underWay: Set<string>,
): Promise<void> {
  if (delivery === undefined) return;
  const idle = refs.filter(({ _id }) => !underWay.has(_id));
  const tries = idle.map(({ _id, consumer, partition, delivery: round }) => {
    underWay.add(_id);
    const job = { deadLetter: _id, partition, delivery: round };
    return delivery.retry(consumer, job).finally(() => underWay.delete(_id));
  });
  await Promise.allSettled(tries);
}
