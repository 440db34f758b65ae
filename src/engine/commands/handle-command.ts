import { type Decision, decideCommand, foldEvents } from '../../define/decide.ts';
import type { AggregateModel, Model } from '../../define/model.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import type { CommitStore, OperationTime } from '../../store/commits.ts';
import type { CommitDocument } from '../../store/documents.ts';
import { type RejectionStore, rejectionId } from '../../store/rejections.ts';
import { roughBytes } from '../../store/rough-bytes.ts';
import type { SnapshotStore } from '../../store/snapshots.ts';
import { newId } from '../concurrency/new-id.ts';
import { StreamQueue } from '../concurrency/stream-queue.ts';
import { UnderWay } from '../concurrency/under-way.ts';
import type { CommandConflict, CommandOutcome, CommandRequest } from '../contract/runtime.ts';
import { AggregateCache, type LoadedAggregate } from './aggregate-cache.ts';
import { type Arrived, arrive, type CommandLimits } from './arrive-command.ts';
import { beginSending, type Progress, timeIsUp, untilRead, withDeadline } from './command-deadline.ts';
import { commitOf } from './commit-of.ts';
import { type AppendResult, GroupCommit } from './group-commit.ts';
import { type Intercept, interceptFor, onHookFailed } from './intercept.ts';
import { foldStored, loadAggregate } from './load-aggregate.ts';
import { acceptedReceipt, conflictReceipt, MISSED_EVENTS_CAP, repeatedReceipt, repeatedRefusal } from './receipts.ts';
import { Snapshots } from './snapshots.ts';

export interface CommandHandlerDeps {
  readonly model: Model;
  readonly commits: CommitStore;
  readonly rejections: RejectionStore;
  /** Without it none are kept. */
  readonly snapshots?: SnapshotStore;
  readonly logId: string;
  readonly limits: CommandLimits;
  readonly logger: Logger;
  /** Called with every new commit after the majority acknowledged it: a sequencer in this process need not wait for its change stream. */
  readonly onCommitted?: (commit: CommitDocument) => void;
}
export interface CommandHandler {
  handle(request: CommandRequest): Promise<CommandOutcome>;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

/** How often a command is decided anew after others were faster, before it answers TOO_BUSY. */
const MAX_ATTEMPTS = 50;

/**
 * Handles commands: parse, load, decide, append. Guarantees: effect once a commandId; versions of a stream without
 * holes; only acceptances are answered from the cache, anything else after a majority read. Errors: UNKNOWN_AGGREGATE,
 * UNKNOWN_COMMAND, OUTCOME_UNKNOWN (repeat with the same commandId), TOO_BUSY (nothing was written), COMMIT_TOO_LARGE,
 * EVENT_INVALID, UNKNOWN_EVENT, and what `decide` throws.
 */
export function createCommandHandler(deps: CommandHandlerDeps): CommandHandler {
  const cache = new AggregateCache(deps.limits.cacheCount);
  const queue = new StreamQueue();
  const group = new GroupCommit(deps.commits, deps.rejections);
  const intercept = interceptFor(deps.model.interceptors, 'aggregate', onHookFailed(deps.logger));
  const snapshots = deps.snapshots && new Snapshots(deps.snapshots, deps.logger);
  const work: Work = { ...deps, cache, group, intercept, snapshots };
  const underWay = new UnderWay();
  let closing = false;
  return {
    async handle(request) {
      if (closing)
        throw new MillraceError(
          'SHUTTING_DOWN',
          'This process is shutting down. Nothing was written; repeat the command on another one.',
        );
      const parsed = arrive(deps, request);
      if ('kind' in parsed) return parsed;
      const arrived = intercept === undefined ? parsed : { ...parsed, meta: intercept.meta(callOf(parsed, 1)) };
      const progress: Progress = { sent: false, over: false };
      return withDeadline(underWay.follow(inTurn(queue, work, arrived, progress)), arrived, progress);
    },
    async close() {
      closing = true;
      await underWay.ended();
      await group.close();
      await snapshots?.idle();
    },
  };
}

interface Work extends Omit<CommandHandlerDeps, 'snapshots'> {
  readonly snapshots: Snapshots | undefined;
  readonly cache: AggregateCache;
  readonly group: GroupCommit;
  readonly intercept: Intercept | undefined;
}

/**
 * One command of a stream at a time. One that expects an older version than is known here takes its turn, since an earlier
 * try of it may be before it, but makes none wait: reading what it is answered with takes longer than an append, and those
 * behind it would then be too late in their turn.
 */
async function inTurn(queue: StreamQueue, work: Work, arrived: Arrived, progress: Progress): Promise<CommandOutcome> {
  const { stream, expectedVersion } = arrived;
  const isBehind = (): boolean => (expectedVersion ?? Infinity) < (work.cache.get(stream)?.version ?? 0);
  const outcome = await queue.run(stream, async () => (isBehind() ? undefined : carryOut(work, arrived, progress)));
  return outcome ?? carryOut(work, arrived, progress);
}

/** The loop of design.md: decide on what is known; answer refusals only when it is certainly the newest. */
async function carryOut(work: Work, arrived: Arrived, progress: Progress): Promise<CommandOutcome> {
  let loaded = work.cache.get(arrived.stream);
  let fresh = false;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS && Date.now() < arrived.deadline; attempt++) {
    loaded ??= await untilRead(arrived, progress, () => loadAggregate(work, arrived.aggregate, arrived.stream));
    const decision = decideOn(work, arrived, loaded, attempt);
    if (decision.kind === 'events' && decision.events.length > 0 && !arrived.dryRun) {
      const commit = commitOf(work.limits, arrived, decision.events, loaded.version + 1);
      const result = await append(work, arrived, progress, commit, arrived.chosen);
      const answer = await afterAppend(work, arrived, loaded, commit, result, progress);
      if (answer.outcome !== undefined) return answer.outcome;
      loaded = answer.loaded;
      fresh = true;
      if (attempt > 1) await pause(Math.random() * Math.min(2 ** attempt, 100));
      continue;
    }
    if (fresh) return finish(work, arrived, loaded, decision, progress);
    const known = loaded;
    const newest = await untilRead(arrived, progress, () => refresh(work, arrived, known, undefined));
    if (newest.outcome !== undefined) return newest.outcome;
    loaded = newest.loaded;
    fresh = true;
  }
  throw timeIsUp(arrived, progress);
}

type Verdict = Decision | { readonly kind: 'conflict' };

function decideOn({ intercept }: Work, arrived: Arrived, loaded: LoadedAggregate, attempt: number): Verdict {
  if (arrived.expectedVersion !== undefined && arrived.expectedVersion !== loaded.version) return { kind: 'conflict' };
  const { aggregate } = arrived;
  return decideCommand(
    intercept === undefined ? aggregate : intercepted(intercept, arrived, attempt),
    loaded,
    { type: arrived.command.type, data: arrived.parsed },
    {
      id: arrived.id,
      version: loaded.version,
      commandId: arrived.commandId,
      now: new Date(),
      newId,
    },
  );
}

const callOf = ({ aggregate, command, parsed, meta }: Arrived, attempt: number) =>
  ({ kind: 'aggregate', name: aggregate.name, type: command.type, input: parsed, meta, attempt }) as const;

/** The aggregate with interceptors around its `decide`. */
function intercepted(intercept: Intercept, arrived: Arrived, attempt: number): AggregateModel {
  const { aggregate } = arrived;
  const handle: AggregateModel['handle'] = (state, command, ctx) =>
    intercept.sync(callOf(arrived, attempt), () => aggregate.handle(state, command, ctx));
  return { ...aggregate, handle };
}

function append(
  work: Work,
  arrived: Arrived,
  progress: Progress,
  commit: CommitDocument,
  mayRepeat: boolean,
): Promise<AppendResult> {
  beginSending(arrived, progress);
  return work.group.append({ commit, bytes: roughBytes(commit), mayRepeat, deadline: arrived.deadline });
}

type Step =
  | { readonly outcome: CommandOutcome; readonly loaded?: undefined }
  | { readonly outcome?: undefined; readonly loaded: LoadedAggregate };

async function afterAppend(
  work: Work,
  arrived: Arrived,
  loaded: LoadedAggregate,
  commit: CommitDocument,
  result: AppendResult,
  progress: Progress,
): Promise<Step> {
  switch (result.kind) {
    case 'inserted': {
      const { aggregate, stream } = arrived;
      const next = foldEvents(aggregate, loaded, commit.events);
      work.cache.offer(stream, next);
      work.snapshots?.offer(aggregate, stream, loaded.version, next, {
        id: commit._id,
        version: commit.version ?? 0,
      });
      work.onCommitted?.(commit);
      return { outcome: acceptedReceipt(work.logId, aggregate, commit, { duplicate: false, written: true }) };
    }
    case 'refused':
      return { outcome: repeatedRefusal(result.rejection, arrived.hash) };
    case 'taken': {
      // Others were faster, or an earlier try of this command got through: look for that first.
      const step = await untilRead(arrived, progress, () => refresh(work, arrived, loaded, result.operationTime));
      if (step.loaded !== undefined) progress.sent = false;
      return step;
    }
    case 'unknown':
      work.cache.forget(arrived.stream);
      throw timeIsUp(arrived, progress, result.error);
    case 'failed':
      work.cache.forget(arrived.stream);
      throw result.error instanceof MillraceError
        ? result.error
        : new MillraceError('INTERNAL', `MongoDB refused a commit of "${arrived.command.type}". Nothing was written.`, {
            cause: result.error,
          });
  }
}

/** One majority read: the receipt of this commandId if there is one, else the newest state. */
async function refresh(
  work: Work,
  arrived: Arrived,
  loaded: LoadedAggregate,
  after: OperationTime | undefined,
): Promise<Step> {
  const news = await work.commits.news(arrived.stream, loaded.version, arrived.commandId, after);
  const own = news.find((commit) => commit.command.id === arrived.commandId);
  if (own !== undefined) return { outcome: repeatedReceipt(work.logId, arrived.aggregate, own, arrived.hash) };
  const newer = news
    .filter((commit) => commit.version !== undefined && commit.version > loaded.version)
    .sort((a, b) => (a.version ?? 0) - (b.version ?? 0));
  let state = loaded;
  for (const commit of newer) state = foldStored(arrived.aggregate, state, commit);
  work.cache.offer(arrived.stream, state);
  return { loaded: state };
}

/** Answers what is no acceptance with events; `loaded` is the newest state. */
async function finish(
  work: Work,
  arrived: Arrived,
  loaded: LoadedAggregate,
  verdict: Verdict,
  progress: Progress,
): Promise<CommandOutcome> {
  if (arrived.chosen) {
    const [earlier] = await work.rejections.find([rejectionId(arrived.stream, arrived.commandId)]);
    if (earlier !== undefined) return repeatedRefusal(earlier, arrived.hash);
  }
  if (verdict.kind === 'conflict') return conflict(work, arrived, loaded);
  if (verdict.kind === 'rejected') return refuse(work, arrived, verdict, progress);
  if (arrived.dryRun) {
    const preview = commitOf(
      work.limits,
      arrived,
      verdict.events,
      verdict.events.length === 0 ? undefined : loaded.version + 1,
    );
    return acceptedReceipt(work.logId, arrived.aggregate, preview, { duplicate: false, written: false });
  }
  const commit = commitOf(work.limits, arrived, [], undefined);
  const result = await append(work, arrived, progress, commit, false);
  const step = await afterAppend(work, arrived, loaded, commit, result, progress);
  // Without a version only the command's own receipt can be in the way.
  if (step.outcome === undefined) throw timeIsUp(arrived, progress);
  return step.outcome;
}

async function conflict(work: Work, arrived: Arrived, loaded: LoadedAggregate): Promise<CommandConflict> {
  const expected = arrived.expectedVersion ?? 0;
  const missed = expected < loaded.version ? await missedSince(work, arrived.stream, expected) : [];
  return conflictReceipt(arrived.aggregate, arrived.commandId, { expected, actual: loaded.version }, missed);
}

/** The commits with events after version `expected`, oldest first, as many as a receipt can name events of. */
async function missedSince(work: Work, stream: string, expected: number): Promise<readonly CommitDocument[]> {
  const missed = await endingAfter(expected, work.commits.since(stream, expected));
  if (missed[0]?.version === expected + 1) return missed;
  // `expected` points into a commit, which began before it.
  return endingAfter(expected, work.commits.since(stream, Math.max(0, expected - work.limits.maxEvents)));
}

async function endingAfter(
  version: number,
  commits: AsyncIterable<CommitDocument>,
): Promise<readonly CommitDocument[]> {
  const found: CommitDocument[] = [];
  for await (const commit of commits) {
    if ((commit.version ?? 0) + commit.events.length - 1 > version) found.push(commit);
    // Each holds at least one event.
    if (found.length >= MISSED_EVENTS_CAP) break;
  }
  return found;
}

async function refuse(
  work: Work,
  arrived: Arrived,
  verdict: Decision & { kind: 'rejected' },
  progress: Progress,
): Promise<CommandOutcome> {
  const refused: CommandOutcome = {
    kind: 'rejected',
    commandId: arrived.commandId,
    code: verdict.code,
    reason: verdict.reason,
  };
  if (arrived.dryRun) return refused;
  beginSending(arrived, progress);
  const at = new Date();
  const stored = await work.rejections.record({
    _id: rejectionId(arrived.stream, arrived.commandId),
    stream: arrived.stream,
    command: { id: arrived.commandId, type: arrived.command.type, hash: arrived.hash },
    code: verdict.code,
    reason: verdict.reason,
    meta: arrived.meta,
    at,
    expiresAt: new Date(at.getTime() + work.limits.rejectionTtlS * 1_000),
  });
  return repeatedRefusal(stored, arrived.hash);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
