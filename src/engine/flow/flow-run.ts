import type { Model } from '../../define/model.ts';
import type { LogDocument } from '../../store/documents.ts';
import {
  type CommandRef,
  type CommitHead,
  commandKey,
  type FlowReads,
  type QueuedHead,
} from '../../store/flow-reads.ts';
import { roughBytes } from '../../store/rough-bytes.ts';
import { FLOW_MAX_STEPS, type FlowStep } from '../contract/flow.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import { Handlings } from './flow-consumers.ts';
import { readSagas } from './flow-sagas.ts';
import { flowSteps, isSettled } from './flow-steps.ts';

export interface FlowDeps {
  readonly model: Model;
  readonly logId: string;
  readonly reads: FlowReads;
  readonly decode: DecodeOnce;
}
export interface FlowLook {
  readonly steps: readonly FlowStep[];
  readonly truncated: boolean;
  /** As far as this look sees, nothing is under way. */
  readonly quiet: boolean;
}

const PAGE_COUNT = 200;
/** Events of one flow in memory. */
const EVENTS_MAX_BYTES = 32_000_000;

/**
 * One flow, looked at again and again: what cannot change any more is read once. Each look reads causes before effects, so
 * that what a step wrote is there when the step is seen as done.
 */
export class FlowRun {
  readonly #deps: FlowDeps;
  readonly #correlationId: string;
  readonly #handlings: Handlings;
  readonly #events: LogDocument[] = [];
  readonly #heads = new Map<string, CommitHead>();
  /** Open steps that an earlier look saw: when they end, their time is known. */
  readonly #open = new Set<string>();
  readonly #durations = new Map<string, number>();
  #bytes = 0;
  #full = false;

  constructor(deps: FlowDeps, correlationId: string) {
    this.#deps = deps;
    this.#correlationId = correlationId;
    this.#handlings = new Handlings(deps);
  }

  /** Whether something is known to be under way; false proves nothing. Costs a third of a look. */
  async isBusy(): Promise<boolean> {
    this.#handlings.add(await this.#readEvents());
    await this.#handlings.look();
    if (!this.#handlings.complete || this.#handlings.busy) return true;
    const queued = await this.#deps.reads.queued(this.#correlationId, FLOW_MAX_STEPS);
    const now = Date.now();
    return queued.some(({ state, tell, notBefore }) => {
      if (state === 'RECEIVED') return (notBefore?.getTime() ?? 0) <= now;
      return state === 'RUNNING' || tell === true;
    });
  }

  /** `recent`: also what was committed a moment ago and is not in the log yet, which costs more. */
  async look(options: { readonly recent?: boolean; readonly dueWithinMs?: number } = {}): Promise<FlowLook> {
    const { model, reads, decode } = this.#deps;
    this.#handlings.add(await this.#readEvents());
    await this.#handlings.look();
    const queued = await reads.queued(this.#correlationId, FLOW_MAX_STEPS);
    const [rejections, receipts, recent] = await Promise.all([
      reads.rejections(this.#correlationId, FLOW_MAX_STEPS),
      reads.receipts(this.#correlationId, FLOW_MAX_STEPS),
      options.recent === true ? reads.recent(this.#correlationId) : [],
    ]);
    for (const head of [...receipts, ...recent]) this.#know(head);
    await this.#readHeads(queued);
    const sagas = await readSagas(this.#deps, { handlings: this.#handlings.all, queued });
    const steps = flowSteps({
      events: this.#events,
      handlings: this.#handlings.all,
      queued: new Map(queued.map((one) => [commandKey(one), one])),
      heads: this.#heads,
      rejections: new Map(
        rejections.map((one) => [commandKey({ stream: one.stream, commandId: one.command.id }), one]),
      ),
      isService: (name) => model.services.has(name),
      decode,
      sagas,
    });
    const now = Date.now();
    const quiet = this.#handlings.complete && steps.every((step) => isSettled(step, now + (options.dueWithinMs ?? 0)));
    const truncated = this.#full || steps.length > FLOW_MAX_STEPS;
    const shown = steps.slice(0, FLOW_MAX_STEPS).map((step) => this.#timed(step, now));
    const last = shown.at(-1);
    if (truncated && last !== undefined) shown[shown.length - 1] = { ...last, truncated: true };
    return { steps: shown, truncated, quiet };
  }

  async #readEvents(): Promise<readonly LogDocument[]> {
    const added: LogDocument[] = [];
    while (!this.#full) {
      const after = this.#events.at(-1)?._id ?? 0;
      const page = await this.#deps.reads.events(this.#correlationId, after, PAGE_COUNT);
      for (const event of page) {
        this.#bytes += roughBytes(event.data);
        this.#events.push(event);
        added.push(event);
      }
      if (page.length < PAGE_COUNT) break;
      this.#full = this.#events.length >= FLOW_MAX_STEPS || this.#bytes > EVENTS_MAX_BYTES;
    }
    return added;
  }

  #know(head: CommitHead): void {
    this.#heads.set(commandKey({ stream: head.stream, commandId: head.command.id }), head);
  }

  /** Commits of commands that are known by their events, or by having been queued and accepted. They never change. */
  async #readHeads(queued: readonly QueuedHead[]): Promise<void> {
    const refs = new Map<string, CommandRef>();
    const want = (ref: CommandRef): void => {
      const key = commandKey(ref);
      if (!this.#heads.has(key)) refs.set(key, ref);
    };
    for (const { stream, commandId } of this.#events) want({ stream, commandId });
    for (const { state, stream, commandId } of queued) if (state === 'ACCEPTED') want({ stream, commandId });
    if (refs.size === 0) return;
    for (const head of await this.#deps.reads.commits([...refs.values()])) this.#know(head);
  }

  /** Who watches sees how long something takes for which nobody writes it down. */
  #timed(step: FlowStep, now: number): FlowStep {
    if (step.durationMs !== null || step.startedAt === null) return step;
    if (!isSettled(step, now)) {
      this.#open.add(step.id);
      return step;
    }
    if (this.#open.delete(step.id)) this.#durations.set(step.id, Math.max(0, now - step.startedAt.getTime()));
    const durationMs = this.#durations.get(step.id);
    return durationMs === undefined ? step : { ...step, durationMs };
  }
}
