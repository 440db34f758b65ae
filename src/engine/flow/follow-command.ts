import { type PullSource, pullStream } from '../concurrency/pull-stream.ts';
import type { CommandProgress, ConsumerProgress, StepState } from '../contract/flow.ts';
import type { CommandStatus } from '../contract/runtime.ts';
import { decodeToken } from '../log/token.ts';
import { Handlings } from './flow-consumers.ts';
import { type FlowHearing, hearing } from './flow-hearing.ts';
import type { FlowDeps } from './flow-run.ts';

export interface CommandFollow {
  /** As it is now. */
  progress(status: CommandStatus): Promise<CommandProgress>;
  /** From a status that is final for the command itself: one message a consumer whose state changed, at last one that is settled. */
  follow(status: CommandStatus, signal: AbortSignal): AsyncIterableIterator<CommandStatus, undefined>;
}

/** Who follows looks so often at least, and hears of most things earlier. */
const POLL_MS = 250;
const LOOK_MIN_MS = 20;
/** Of the events of one command the worst counts. */
const rank = { DONE: 0, PENDING: 1, RETRYING: 2, DEAD: 3 } as const;

export function createCommandFollow(deps: FlowDeps & FlowHearing): CommandFollow {
  const listen = hearing(deps);
  return {
    progress: (status) => new Follow(deps, status).look(),
    follow: (status, signal) =>
      pullStream<CommandStatus>(
        signal,
        (wake, end) => new FollowSource(new Follow(deps, status), status, listen, wake, end),
      ),
  };
}

/** The consumers of one command. */
class Follow {
  readonly #deps: FlowDeps;
  readonly #status: CommandStatus;
  readonly #handlings: Handlings;
  #placed = false;

  constructor(deps: FlowDeps, status: CommandStatus) {
    this.#deps = deps;
    this.#status = status;
    this.#handlings = new Handlings(deps);
  }

  async look(): Promise<CommandProgress> {
    const { status, receipt } = this.#status;
    if (status === 'RECEIVED' || status === 'RUNNING') return { consumers: [], settled: false };
    if (receipt?.kind !== 'accepted') return { consumers: [], settled: true };
    const { stream, firstVersion, eventCount } = decodeToken(receipt.token, this.#deps.logId);
    if (firstVersion === null || eventCount === 0) return { consumers: [], settled: true };
    if (!this.#placed) {
      const events = await this.#deps.reads.range({ stream, first: firstVersion, count: eventCount });
      if (events.length < eventCount) return { consumers: [], settled: false };
      this.#handlings.add(events);
      this.#placed = true;
    }
    await this.#handlings.look();
    const byName = new Map<string, ConsumerProgress & { readonly state: keyof typeof rank }>();
    for (const { consumer, current } of this.#handlings.all) {
      const known = byName.get(consumer.name);
      if (known !== undefined && rank[known.state] >= rank[current.state]) continue;
      byName.set(consumer.name, { name: consumer.name, kind: consumer.kind, state: current.state });
    }
    const consumers = this.#deps.model.consumers.flatMap(({ name }) => byName.get(name) ?? []);
    const settled = this.#handlings.complete && consumers.every(({ state }) => state === 'DONE' || state === 'DEAD');
    return { consumers, settled };
  }
}

class FollowSource implements PullSource<CommandStatus> {
  readonly #follow: Follow;
  readonly #status: CommandStatus;
  readonly #end: () => void;
  readonly #unlisten: () => void;
  readonly #timer: NodeJS.Timeout;
  readonly #told = new Map<string, StepState>();
  readonly #waiting: CommandStatus[] = [];
  #soon: NodeJS.Timeout | undefined;
  #notBeforeMs = 0;
  #settled = false;

  constructor(
    follow: Follow,
    status: CommandStatus,
    listen: (wake: () => void) => () => void,
    wake: () => void,
    end: () => void,
  ) {
    this.#follow = follow;
    this.#status = status;
    this.#end = end;
    this.#timer = setInterval(wake, POLL_MS);
    this.#unlisten = listen(() => {
      this.#soon ??= setTimeout(
        () => {
          this.#soon = undefined;
          wake();
        },
        Math.max(0, this.#notBeforeMs - performance.now()),
      );
    });
  }

  async take(): Promise<CommandStatus | undefined> {
    if (this.#waiting.length === 0 && !this.#settled) await this.#look();
    const next = this.#waiting.shift();
    if (next === undefined && this.#settled) this.#end();
    return next;
  }

  stop(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    this.#unlisten();
  }

  async #look(): Promise<void> {
    const { consumers, settled } = await this.#follow.look();
    this.#notBeforeMs = performance.now() + LOOK_MIN_MS;
    const shown = (): readonly ConsumerProgress[] =>
      consumers.map((one) => ({ ...one, state: this.#told.get(one.name) ?? 'PENDING' }));
    for (const { name, state } of consumers) {
      if (state === (this.#told.get(name) ?? 'PENDING')) continue;
      this.#told.set(name, state);
      this.#waiting.push({ ...this.#status, progress: { consumers: shown(), settled: false }, updatedAt: new Date() });
    }
    if (!settled) return;
    this.#settled = true;
    this.#waiting.push({ ...this.#status, progress: { consumers, settled }, updatedAt: new Date() });
  }
}
