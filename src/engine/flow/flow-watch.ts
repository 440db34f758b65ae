import type { PullSource } from '../concurrency/pull-stream.ts';
import type { FlowStep } from '../contract/flow.ts';
import type { FlowRun } from './flow-run.ts';

/** Between two looks, whatever is heard: a busy log must not be read for a quiet flow all the time. */
const BUSY_MS = 50;
const QUIET_MS = 500;
/** Nothing has to be heard: it looks by itself, more often while something is under way. */
const POLL_MS = 250;
const QUIET_POLL_MS = 1_000;

/** Tells each step of a flow, and again when it changed. Holds what one look found, nothing more. */
export class FlowSource implements PullSource<FlowStep> {
  readonly #run: Pick<FlowRun, 'look'>;
  readonly #wake: () => void;
  readonly #told = new Map<string, string>();
  readonly #unlisten: () => void;
  #waiting: FlowStep[] = [];
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #notBeforeMs = 0;
  #dirty = true;
  #quiet = false;
  #stopped = false;

  constructor(run: Pick<FlowRun, 'look'>, listen: (wake: () => void) => () => void, wake: () => void) {
    this.#run = run;
    this.#wake = wake;
    this.#unlisten = listen(() => {
      this.#dirty = true;
      this.#lookAt(this.#notBeforeMs);
    });
  }

  async take(): Promise<FlowStep | undefined> {
    const next = this.#waiting.shift();
    if (next !== undefined) return next;
    if (!this.#dirty || performance.now() < this.#notBeforeMs) {
      this.#lookAt(Math.max(this.#notBeforeMs, performance.now() + (this.#dirty ? 0 : this.#pollMs)));
      return undefined;
    }
    this.#dirty = false;
    const since = performance.now();
    const { steps, quiet } = await this.#run.look();
    this.#quiet = quiet && steps.length > 0;
    // Not sooner than a look takes: many who watch must not keep what they watch from happening.
    const tookMs = performance.now() - since;
    this.#notBeforeMs = performance.now() + Math.max(this.#quiet ? QUIET_MS : BUSY_MS, 2 * tookMs);
    this.#lookAt(Math.max(this.#notBeforeMs, performance.now() + this.#pollMs));
    this.#waiting = steps.filter((step) => this.#isNews(step));
    return this.#waiting.shift();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#unlisten();
  }

  get #pollMs(): number {
    return this.#quiet ? QUIET_POLL_MS : POLL_MS;
  }

  #isNews(step: FlowStep): boolean {
    const { event: _event, ...rest } = step;
    const text = JSON.stringify([rest, step.event?.position]);
    if (this.#told.get(step.id) === text) return false;
    this.#told.set(step.id, text);
    return true;
  }

  /** The next look, unless an earlier one is set. */
  #lookAt(atMs: number): void {
    if (this.#stopped || atMs >= this.#timerAtMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(
      () => {
        this.#timerAtMs = Number.POSITIVE_INFINITY;
        this.#dirty = true;
        this.#wake();
      },
      Math.max(0, atMs - performance.now()),
    );
  }
}
