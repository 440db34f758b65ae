import { setMaxListeners } from 'node:events';
import { crashPoint } from '../../crash-points.ts';
import type { Decision } from '../../define/decide.ts';
import type { Model, ServiceModel } from '../../define/model.ts';
import { parse } from '../../define/schema.ts';
import type { ServiceContext } from '../../define/service.ts';
import { checkServiceAnswer } from '../../define/service-answer.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import type { CommitStore } from '../../store/commits.ts';
import type { CommitDocument, QueuedCommandDocument } from '../../store/documents.ts';
import type { ExclusiveKeys } from '../../store/exclusive-keys.ts';
import { inTime } from '../../store/in-time.ts';
import type { JournalStore } from '../../store/observer-journal.ts';
import type { Claim, QueuedCommandStore } from '../../store/queued-commands.ts';
import { type RejectionStore, rejectionId } from '../../store/rejections.ts';
import { roughBytes } from '../../store/rough-bytes.ts';
import { anySignal } from '../concurrency/any-signal.ts';
import { batchWhileBusy } from '../concurrency/batch-while-busy.ts';
import { inDeadline } from '../concurrency/in-deadline.ts';
import { newId } from '../concurrency/new-id.ts';
import { onceOf } from '../concurrency/once.ts';
import { Turns } from '../concurrency/turns.ts';
import { storedError } from '../log/error-record.ts';
import type { CommandLimits } from './arrive-command.ts';
import { CRASHED_COUNT, crashed, dataInvalid, endOfError, isLastTry, type TryEnd } from './command-try.ts';
import { commitOf } from './commit-of.ts';
import { GroupCommit } from './group-commit.ts';
import { type Intercept, interceptFor, onHookFailed } from './intercept.ts';
import { KeyLine } from './key-line.ts';
import { CLAIM_TTL_MS, ServiceClaims } from './service-claims.ts';

export interface ServiceRunnerDeps {
  readonly model: Pick<Model, 'services' | 'interceptors'>;
  readonly store: QueuedCommandStore;
  readonly keys: ExclusiveKeys;
  readonly commits: CommitStore;
  readonly rejections: RejectionStore;
  readonly journal: JournalStore;
  readonly instanceId: string;
  readonly logId: string;
  readonly limits: CommandLimits;
  readonly logger: Logger;
  readonly onCommitted?: ((commit: CommitDocument) => void) | undefined;
}
/** `command`: as it was claimed, with the tries that others counted meanwhile. */
export interface ServiceEnd {
  readonly command: QueuedCommandDocument;
  readonly end: TryEnd;
}

/** Handlers at once in a process. */
const RUNNING_MAX_COUNT = 100;
/** Claims of one write. */
const CLAIMS_MAX_COUNT = 100;
const UNKNOWN_SERVICE_MS = 5_000;
/** A MongoDB that is silent for so long will not answer: another try follows. */
const ANSWER_MAX_MS = 10_000;

/**
 * Runs commands of services: one process at a time has a command (a claim that it renews), one at a time a key of `exclusive`. The
 * handler runs at least once, its answer is appended once: a repeat after a kill finds the commit. Never throws.
 */
export class ServiceRunner {
  readonly #deps: ServiceRunnerDeps;
  readonly #group: GroupCommit;
  /** For what interceptors add to the metadata; around the handlers they are already. */
  readonly #intercept: Intercept | undefined;
  readonly #claim: (id: string) => Promise<Claim>;
  readonly #claims: ServiceClaims;
  readonly #line: KeyLine;
  readonly #turns = new Turns(RUNNING_MAX_COUNT);
  /** Commands that wait for their key. */
  readonly #lined = new Set<string>();
  /** The process stops: handlers are told. */
  readonly #stopping = new AbortController();
  /** What has not ended by now is left behind. */
  readonly #over = new AbortController();

  constructor(deps: ServiceRunnerDeps) {
    this.#deps = deps;
    // Every command that runs or waits listens.
    setMaxListeners(0, this.#stopping.signal, this.#over.signal);
    this.#group = new GroupCommit(deps.commits, deps.rejections);
    this.#intercept = interceptFor(deps.model.interceptors, 'service', onHookFailed(deps.logger));
    this.#claim = batchWhileBusy((ids: readonly string[]) => deps.store.claim(ids, deps.instanceId, CLAIM_TTL_MS), {
      maxCount: CLAIMS_MAX_COUNT,
    });
    this.#claims = new ServiceClaims(deps.store, deps.instanceId, deps.logger);
    this.#line = new KeyLine(deps.keys, deps.instanceId, deps.logger);
  }

  async run(command: QueuedCommandDocument): Promise<ServiceEnd> {
    const service = this.#deps.model.services.get(command.target);
    const known = service?.commands.get(command.type);
    if (service === undefined || known === undefined) {
      return { command, end: { kind: 'postponed', delayMs: UNKNOWN_SERVICE_MS } };
    }
    const parsed = parse(known.schema, command.data);
    try {
      if (!parsed.ok) return await this.#refused(command, parsed.issues);
      const key = service.definition.exclusiveKey?.(command.type, parsed.value);
      if (key === undefined) return await this.#inTurn(service, command, parsed.value, undefined);
      const place = `${command.logId}/${command.target}/${key}`;
      this.#lined.add(command._id);
      const ran = await this.#line.run(place, this.#stopping.signal, (lost) => {
        this.#lined.delete(command._id);
        return this.#inTurn(service, command, parsed.value, lost);
      });
      return ran ?? { command, end: STOPPED };
    } catch (error) {
      return { command, end: endOfError(error) };
    } finally {
      this.#lined.delete(command._id);
    }
  }

  /** Counted like any failed try, so by the one process that has it: another one may take what this one's schema refuses. */
  async #refused(command: QueuedCommandDocument, issues: readonly unknown[]): Promise<ServiceEnd> {
    const claim = await this.#claim(command._id);
    if (claim.kind !== 'claimed') return { command, end: { kind: 'elsewhere' } };
    const error = dataInvalid(command, issues);
    return { command: claim.command, end: (await this.#earlier(claim.command)) ?? { kind: 'failed', error } };
  }

  /** Whether it stands in line behind another command of its key: nobody can say for how long. */
  waits(id: string): boolean {
    return this.#lined.has(id);
  }

  /** Tells handlers to end and takes no new ones. */
  letGo(): void {
    this.#stopping.abort(new MillraceError('SHUTTING_DOWN', 'This process stops; another one tries again.'));
  }

  /** After `letGo`: what has not ended is left to other processes. */
  async stop(): Promise<void> {
    this.letGo();
    this.#over.abort();
    await Promise.all([this.#claims.stop(), this.#line.stop(), this.#group.close()]);
  }

  async #inTurn(
    service: ServiceModel,
    command: QueuedCommandDocument,
    data: unknown,
    lost: AbortSignal | undefined,
  ): Promise<ServiceEnd> {
    const turn = await this.#turns.take(this.#stopping.signal);
    if (turn === undefined) return { command, end: STOPPED };
    try {
      const claim = await this.#claim(command._id);
      if (claim.kind !== 'claimed') return { command, end: { kind: 'elsewhere' } };
      const taken = this.#claims.hold(command._id);
      const gone = lost === undefined ? [taken] : [taken, lost];
      const end = await this.#try(service, claim.command, data, gone).catch(endOfError);
      return { command: claim.command, end: taken.aborted ? { kind: 'elsewhere' } : end };
    } finally {
      this.#claims.letGo(command._id);
      turn();
    }
  }

  async #try(
    service: ServiceModel,
    command: QueuedCommandDocument,
    data: unknown,
    gone: readonly AbortSignal[],
  ): Promise<TryEnd> {
    const earlier = await this.#earlier(command);
    if (earlier !== undefined) return earlier;
    if ((command.interruptions ?? 0) >= CRASHED_COUNT) return { kind: 'hopeless', error: crashed(command) };
    const { timeoutMs, definition, retry } = service;
    const attempt = command.attempts + 1;
    crashPoint('before-service');
    const told = anySignal([this.#stopping.signal, ...gone]);
    const ran = await inDeadline(
      (late) => {
        told.add(late);
        return definition.run(command.type, data, this.#contextOf(command, attempt, told.signal));
      },
      { timeoutMs, stop: this.#over.signal, reason: () => timedOut(command, timeoutMs) },
    );
    told.end();
    crashPoint('after-service');
    if (ran.kind === 'stopped') return STOPPED;
    try {
      if (ran.kind === 'late') throw timedOut(command, timeoutMs);
      if (ran.kind === 'error') throw ran.error;
      const place = `command "${command.type}"`;
      return await this.#append(service, command, checkServiceAnswer(service, place, ran.value));
    } catch (error) {
      // What a handler throws after it was told to end says nothing about the command.
      if (this.#stopping.signal.aborted) return STOPPED;
      if (error instanceof AppendFailed) return endOfError(error.cause);
      const last = isLastTry(retry, attempt, error) || isInvalidAnswer(error);
      if (!last) return { kind: 'failed', error };
      return (await this.#onFailed(service, command, attempt, error)) ?? { kind: 'hopeless', error };
    }
  }

  /** What an earlier try came to, whose process did not live to write it down. */
  async #earlier(command: QueuedCommandDocument): Promise<TryEnd | undefined> {
    if (isFirstTry(command)) return undefined;
    const { stream, commandId } = command;
    const { commits, rejections } = this.#deps;
    const known = Promise.all([
      commits.byCommand(stream, commandId),
      rejections.find([rejectionId(stream, commandId)]),
    ]);
    const [commit, [refused]] = await inTime(known, ANSWER_MAX_MS, 'a look for an earlier try');
    if (commit !== undefined) return { kind: 'accepted' };
    return refused && { kind: 'rejected', code: refused.code, reason: refused.reason };
  }

  #contextOf(command: QueuedCommandDocument, attempt: number, signal: AbortSignal): ServiceContext {
    const idempotencyKey = `${command.logId}/${command.target}/${command.commandId}`;
    return {
      commandId: command.commandId,
      idempotencyKey,
      attempt,
      signal,
      now: new Date(),
      newId,
      meta: command.meta,
      reject: (code, reason) => ({ rejected: code, reason }),
      once: onceOf(this.#deps.journal, idempotencyKey),
    };
  }

  async #append(service: ServiceModel, command: QueuedCommandDocument, answer: Decision): Promise<TryEnd> {
    if (answer.kind === 'rejected') return this.#refuse(command, answer.code, answer.reason);
    const { limits, onCommitted } = this.#deps;
    const { stream, commandId, data, hash, type } = command;
    const call = { kind: 'service', name: service.name, type, input: data, meta: command.meta, attempt: 1 } as const;
    const meta = this.#intercept === undefined ? command.meta : this.#intercept.meta(call);
    const own = { stream, commandId, stored: data, hash, meta, command: { type } };
    const commit = commitOf(limits, own, answer.events, answer.events.length === 0 ? undefined : 1);
    const deadline = Date.now() + limits.timeoutMs;
    const result = await this.#group.append({ commit, bytes: roughBytes(commit), mayRepeat: true, deadline });
    if (result.kind === 'inserted') onCommitted?.(commit);
    if (result.kind === 'inserted' || result.kind === 'taken') return { kind: 'accepted' };
    if (result.kind === 'refused') {
      return { kind: 'rejected', code: result.rejection.code, reason: result.rejection.reason };
    }
    if (result.kind === 'failed') throw result.error;
    throw new AppendFailed(
      new MillraceError('OUTCOME_UNKNOWN', `An answer of service "${service.name}" may or may not be stored.`, {
        cause: result.error,
      }),
    );
  }

  async #refuse(command: QueuedCommandDocument, code: string, reason: string): Promise<TryEnd> {
    const { rejections, limits } = this.#deps;
    const { stream, commandId, type, hash, meta } = command;
    const at = new Date();
    const expiresAt = new Date(at.getTime() + limits.rejectionTtlS * 1_000);
    const refusal = { stream, command: { id: commandId, type, hash }, code, reason, meta, at, expiresAt };
    try {
      const call = rejections.record({ _id: rejectionId(stream, commandId), ...refusal });
      const stored = await inTime(call, ANSWER_MAX_MS, 'the record of a refusal');
      return { kind: 'rejected', code: stored.code, reason: stored.reason };
    } catch (error) {
      throw new AppendFailed(error);
    }
  }

  /** The events that stand for "all tries failed"; undefined when there is nothing to say or it cannot be said. */
  async #onFailed(
    service: ServiceModel,
    command: QueuedCommandDocument,
    attempts: number,
    error: unknown,
  ): Promise<TryEnd | undefined> {
    const { onFailed } = service.definition;
    if (onFailed === undefined) return undefined;
    const { commandId, type, data } = command;
    try {
      const answer = checkServiceAnswer(service, '`onFailed`', onFailed({ commandId, type, data, attempts }, error));
      const stored = storedError(error);
      await this.#deps.store.noteError(command._id, this.#deps.instanceId, stored).catch(appendFailed);
      const end = await this.#append(service, command, answer);
      return end.kind === 'accepted' ? { kind: 'accepted', error: stored } : end;
    } catch (problem) {
      if (problem instanceof AppendFailed) return endOfError(problem.cause);
      this.#deps.logger.error({ err: problem, service: service.name, command: type }, 'onFailed of a service failed');
      return undefined;
    }
  }
}

/** As it was claimed just now: nobody has begun it before. */
const isFirstTry = ({ startedAt, updatedAt, delivery }: QueuedCommandDocument): boolean =>
  delivery === 1 && startedAt?.getTime() === updatedAt.getTime();

/** Released at once, so that another process goes on. */
const STOPPED = { kind: 'postponed', delayMs: 0 } as const satisfies TryEnd;

/** The store's fault, not the handler's. */
class AppendFailed extends Error {
  override readonly name = 'AppendFailed';
  constructor(cause: unknown) {
    super('the answer could not be stored', { cause });
  }
}

const appendFailed = (error: unknown): never => {
  throw new AppendFailed(error);
};

const isInvalidAnswer = (error: unknown): boolean =>
  error instanceof MillraceError && (error.code === 'SERVICE_ANSWER_INVALID' || error.code === 'COMMIT_TOO_LARGE');

const timedOut = ({ target, type }: QueuedCommandDocument, timeoutMs: number): MillraceError =>
  new MillraceError(
    'SERVICE_TIMED_OUT',
    `Service "${target}" did not end command "${type}" within ${timeoutMs} ms. Raise \`timeoutMs\`, or let the handler give up when its signal aborts.`,
  );
