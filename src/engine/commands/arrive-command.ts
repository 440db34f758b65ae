import type { EventMeta } from '../../define/event.ts';
import type { AggregateModel, CommandModel, Model, ServiceModel } from '../../define/model.ts';
import { type Issue, parse } from '../../define/schema.ts';
import { DEFAULT_TENANT, idProblem, streamKey } from '../../define/stream-key.ts';
import { MillraceError } from '../../errors.ts';
import { newId } from '../concurrency/new-id.ts';
import type { CommandInvalid, CommandRequest } from '../contract/runtime.ts';
import { metaIssues, metaOf } from './caller-meta.ts';
import { canonicalInput, derivedId, inputHash } from './command-input.ts';

export interface CommandLimits {
  readonly timeoutMs: number;
  readonly dataMaxBytes: number;
  readonly rejectionTtlS: number;
  readonly maxEvents: number;
  readonly maxBytes: number;
  readonly cacheCount: number;
  /** Commands of sagas that may lead to one another; default 100. */
  readonly maxDepth?: number;
}
interface ArrivalDeps {
  readonly model: Model;
  readonly limits: CommandLimits;
}

/** One command on its way: parsed, addressed, hashed. */
export interface Arrived<Target extends AggregateModel | ServiceModel = AggregateModel> {
  readonly aggregate: Target;
  readonly command: CommandModel;
  readonly id: string;
  readonly stream: string;
  readonly commandId: string;
  readonly chosen: boolean;
  readonly parsed: unknown;
  readonly stored: unknown;
  readonly bytes: number;
  readonly hash: string;
  readonly expectedVersion: number | undefined;
  readonly dryRun: boolean;
  readonly meta: EventMeta;
  readonly deadline: number;
}

/** Checks, parses and addresses a command. Throws UNKNOWN_AGGREGATE or UNKNOWN_COMMAND; bad data is a value. */
export function arrive(deps: ArrivalDeps, request: CommandRequest): Arrived | CommandInvalid {
  const aggregate = deps.model.aggregates.get(request.aggregate);
  if (aggregate === undefined)
    throw new MillraceError('UNKNOWN_AGGREGATE', `There is no aggregate "${clip(request.aggregate)}".`);
  return arriveAt(aggregate, deps.limits, request);
}

/** The same for an aggregate or service that is known. Throws UNKNOWN_COMMAND. */
export function arriveAt<Target extends AggregateModel | ServiceModel>(
  aggregate: Target,
  limits: Pick<CommandLimits, 'timeoutMs' | 'dataMaxBytes'>,
  request: CommandRequest,
): Arrived<Target> | CommandInvalid {
  const command = aggregate.commands.get(request.type);
  if (command === undefined) {
    const { kind, name } = aggregate.definition;
    const place = `${kind === 'service' ? 'Service' : 'Aggregate'} "${name}"`;
    throw new MillraceError('UNKNOWN_COMMAND', `${place} has no command "${clip(request.type)}".`);
  }

  const issues: Issue[] = [];
  const check = (field: string, problem: string | undefined): void => {
    if (problem !== undefined) issues.push({ path: [field], message: problem });
  };
  const chosen = request.commandId !== undefined;
  check('commandId', chosen ? idProblem(request.commandId) : undefined);
  const commandId = request.commandId ?? newId();
  issues.push(...metaIssues(request.meta));
  const tenant = request.meta?.tenant ?? DEFAULT_TENANT;
  if (request.id !== undefined || !command.creates)
    check('id', request.id === undefined ? 'is missing' : idProblem(request.id));
  const { expectedVersion } = request;
  if (expectedVersion !== undefined && (!Number.isSafeInteger(expectedVersion) || expectedVersion < 0)) {
    check('expectedVersion', `must be a whole number from 0, is ${expectedVersion}`);
  }
  const invalid = (more: readonly Issue[]): CommandInvalid => ({
    kind: 'invalid',
    commandId: issues.some((issue) => issue.path[0] === 'commandId') ? null : commandId,
    issues: more,
  });
  if (issues.length > 0) return invalid(issues);

  const input = canonicalInput(request.data);
  if (input.issues.length > 0) return invalid(input.issues);
  const bytes = Buffer.byteLength(input.json);
  if (bytes > limits.dataMaxBytes) {
    return invalid([
      { path: [], message: `must not be larger than ${limits.dataMaxBytes} bytes of JSON, has ${bytes}` },
    ]);
  }
  const parsed = parse(command.schema, request.data);
  if (!parsed.ok) return invalid(parsed.issues);

  const id = request.id ?? derivedId(tenant, aggregate.name, commandId);
  return {
    aggregate,
    command,
    id,
    stream: streamKey({ tenant, aggregate: aggregate.name, id }),
    commandId,
    chosen,
    parsed: parsed.value,
    stored: withoutUnstored(request.data, command.unstored),
    bytes,
    hash: inputHash(command.type, input.json),
    expectedVersion,
    dryRun: request.dryRun ?? false,
    meta: metaOf(request.meta, commandId, tenant),
    deadline: Date.now() + limits.timeoutMs,
  };
}

const clip = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

function withoutUnstored(data: unknown, unstored: readonly string[]): unknown {
  if (unstored.length === 0 || typeof data !== 'object' || data === null) return data;
  return Object.fromEntries(Object.entries(data).filter(([field]) => !unstored.includes(field)));
}
