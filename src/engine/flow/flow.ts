import { setMaxListeners } from 'node:events';
import { idProblem } from '../../define/stream-key.ts';
import { MillraceError } from '../../errors.ts';
import { anySignal } from '../concurrency/any-signal.ts';
import { createOpenStreams } from '../concurrency/open-streams.ts';
import { Turns } from '../concurrency/turns.ts';
import { wakeable } from '../concurrency/wakeable.ts';
import type { Flow, FlowReader, FlowStep, SettledOptions } from '../contract/flow.ts';
import { type FlowHearing, hearing } from './flow-hearing.ts';
import { type FlowDeps, FlowRun } from './flow-run.ts';
import { isSettled } from './flow-steps.ts';
import { FlowSource } from './flow-watch.ts';

export type FlowReaderDeps = FlowDeps & FlowHearing;

const SETTLED_DEFAULT_MS = 10_000;
const SETTLED_MAX_MS = 600_000;
/** Between two looks of one who waits, whatever is heard meanwhile. */
const LOOK_MIN_MS = 15;
const LOOK_MAX_MS = 250;
/** Looks of those who wait, at once in a process. */
const LOOKS_MAX_COUNT = 4;
/** Steps under way that an error names. */
const NAMED_COUNT = 10;

/** `flow`, `watchFlow` and `settled`, over whatever delivery writes anyway. */
export function createFlowReader(deps: FlowReaderDeps): FlowReader & { close(): void } {
  const streams = createOpenStreams();
  const closing = new AbortController();
  // Everybody who waits listens.
  setMaxListeners(0, closing.signal);
  const listen = hearing(deps);
  const turns = new Turns(LOOKS_MAX_COUNT);
  return {
    async flow(correlationId) {
      check(correlationId);
      const run = new FlowRun(deps, correlationId);
      const look = await run.look({ recent: true });
      if (look.steps.length === 0) return undefined;
      const settled = look.quiet && (await isLevel(deps, run, look.steps.length));
      const { steps, truncated } = settled ? await run.look() : look;
      return { correlationId, settled, truncated, steps };
    },
    watchFlow(correlationId, signal) {
      check(correlationId);
      return streams.open<FlowStep>(signal, (wake) => new FlowSource(new FlowRun(deps, correlationId), listen, wake));
    },
    settled: (correlationId, options = {}) =>
      waitUntilSettled(deps, { listen, turns }, closing.signal, correlationId, options),
    close() {
      closing.abort();
      streams.close();
    },
  };
}

function check(correlationId: unknown): void {
  const problem = idProblem(correlationId);
  if (problem !== undefined) throw new MillraceError('BAD_INPUT', `correlationId ${problem}.`);
}

/**
 * A quiet look may have come between a step and what it wrote: only when another look that began later sees nothing new, and
 * nothing of the flow lies outside the log, it is over.
 */
async function isLevel(deps: FlowDeps, run: FlowRun, count: number, dueWithinMs = 0): Promise<boolean> {
  if (!(await deps.reads.placedBeforeRecent())) return false;
  const again = await run.look({ recent: true, dueWithinMs });
  return again.quiet && again.steps.length === count;
}

/** Runs a look when few others of this process are under way; undefined when the process stops first. */
async function inTurn<T>(turns: Turns, closing: AbortSignal, look: () => Promise<T>): Promise<T | undefined> {
  const giveBack = await turns.take(closing);
  try {
    return giveBack && (await look());
  } finally {
    giveBack?.();
  }
}

async function waitUntilSettled(
  deps: FlowReaderDeps,
  { listen, turns }: { readonly listen: (wake: () => void) => () => void; readonly turns: Turns },
  closing: AbortSignal,
  correlationId: string,
  { timeoutMs = SETTLED_DEFAULT_MS, dueWithinMs = 0, signal }: SettledOptions,
): Promise<Flow> {
  check(correlationId);
  if (!(timeoutMs >= 0 && timeoutMs <= SETTLED_MAX_MS)) {
    throw new MillraceError('BAD_INPUT', `timeoutMs must be a number from 0 to ${SETTLED_MAX_MS}, is ${timeoutMs}.`);
  }
  const deadline = Date.now() + timeoutMs;
  const run = new FlowRun(deps, correlationId);
  const settledNow = async (): Promise<Flow | undefined> => {
    if (await run.isBusy()) return undefined;
    const { steps, truncated, quiet } = await run.look({ dueWithinMs });
    // Without a step there is nothing that could be over: the first command may be on its way.
    if (!quiet || steps.length === 0 || !(await isLevel(deps, run, steps.length, dueWithinMs))) return undefined;
    return { correlationId, settled: true, truncated, steps };
  };
  const either = anySignal(signal === undefined ? [closing] : [closing, signal]);
  const waker = wakeable(either.signal);
  const stop = listen(waker.wake);
  try {
    for (let pauseMs = LOOK_MIN_MS; ; pauseMs = Math.min(LOOK_MAX_MS, pauseMs * 1.5)) {
      const since = performance.now();
      const flow = await inTurn(turns, closing, settledNow);
      if (flow !== undefined) return flow;
      if (closing.aborted) throw new MillraceError('SHUTTING_DOWN', 'This process is stopping. Ask another one.');
      const remainingMs = deadline - Date.now();
      if (remainingMs <= 0 || signal?.aborted === true) {
        throw notSettled(correlationId, (await run.look({ recent: true })).steps, dueWithinMs);
      }
      // Not sooner than it took: many who wait must not keep what they wait for from happening.
      const restMs = Math.max(LOOK_MIN_MS, performance.now() - since);
      await new Promise((resolve) => setTimeout(resolve, Math.min(restMs, remainingMs)));
      await waker.sleep(Math.min(pauseMs, remainingMs));
    }
  } finally {
    stop();
    either.end();
  }
}

function notSettled(correlationId: string, steps: readonly FlowStep[], dueWithinMs: number): MillraceError {
  const now = Date.now() + dueWithinMs;
  const open = steps
    .filter((step) => !isSettled(step, now))
    .map(({ id, kind, name, subject, status }) => ({ id, kind, name, subject, status }));
  const named = open.slice(0, NAMED_COUNT).map((one) => `${one.kind} ${one.name} (${one.subject}) is ${one.status}`);
  const what =
    steps.length === 0
      ? 'nothing is known of it: is this the correlationId of the receipt?'
      : `${named.join('; ') || 'its last step was not seen at rest'}${open.length > NAMED_COUNT ? `; and ${open.length - NAMED_COUNT} more` : ''}`;
  return new MillraceError(
    'NOT_SETTLED',
    `Flow "${correlationId}" is not settled: ${what}. Wait longer, or look at flow(correlationId).`,
    {
      details: { correlationId, open: open.slice(0, NAMED_COUNT) },
    },
  );
}
