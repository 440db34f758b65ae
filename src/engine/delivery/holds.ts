import type { Runner } from '../partitions/runner.ts';

/** A partition that stood still stays with the process that sweeps for so long: a dead one may have its job in its hands. */
const ADOPTED_MS = 10_000;

/** Partitions that this process runs while others run the same consumers. */
export class Holds {
  /** Their jobs are here; how to end each hold. */
  readonly #held = new Map<Runner, Map<number, AbortController>>();
  /** They stood still; until when (performance.now()) they are run here. */
  readonly #adopted = new Map<Runner, Map<number, number>>();

  /** A job came. */
  hold(runner: Runner, partition: number, end: AbortController): void {
    const held = this.#held.get(runner) ?? new Map<number, AbortController>();
    this.#held.set(runner, held.set(partition, end));
  }

  /** Does nothing when the partition is held anew. */
  giveBack(runner: Runner, partition: number, end: AbortController): void {
    const held = this.#held.get(runner);
    if (held?.get(partition) === end) held.delete(partition);
  }

  isHeld(runner: Runner, partition: number): boolean {
    return this.#held.get(runner)?.has(partition) === true;
  }

  heldOf(runner: Runner): readonly number[] {
    return [...(this.#held.get(runner)?.keys() ?? [])];
  }

  endsOf(runner: Runner): readonly AbortController[] {
    return [...(this.#held.get(runner)?.values() ?? [])];
  }

  /** Nobody has moved them for some time. */
  adopt(runner: Runner, partitions: Iterable<number>): void {
    const adopted = this.#adopted.get(runner) ?? new Map<number, number>();
    this.#adopted.set(runner, adopted);
    for (const partition of partitions) adopted.set(partition, performance.now() + ADOPTED_MS);
  }

  /** Another process has it. */
  leave(runner: Runner, partition: number): void {
    this.#adopted.get(runner)?.delete(partition);
  }

  /** Held and adopted. */
  of(runner: Runner): ReadonlySet<number> {
    const nowMs = performance.now();
    const adopted = [...(this.#adopted.get(runner) ?? [])].filter(([, untilMs]) => untilMs > nowMs);
    return new Set([...this.heldOf(runner), ...adopted.map(([partition]) => partition)]);
  }
}
