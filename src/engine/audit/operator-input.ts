import { DOCUMENT_ID_MAX_LENGTH, idProblem } from '../../define/stream-key.ts';
import { MillraceError } from '../../errors.ts';
import type { AuditMatch } from '../../store/audit.ts';
import type { DeadLetterMatch } from '../../store/dead-letter-reads.ts';
import type { AuditFilter, DeadLetterFilter, OperatorCall } from '../contract/operators.ts';

const REASON_MAX_LENGTH = 1_000;
const IDS_MAX_COUNT = 1_000;
export const RATE_DEFAULT = 100;
export const RATE_MAX = 10_000;

/** Throws REASON_MISSING, and BAD_INPUT for one that is too long. */
export function checkCall({ actor, reason }: OperatorCall): OperatorCall {
  const said = typeof reason === 'string' ? reason.trim() : '';
  if (said === '') {
    throw new MillraceError(
      'REASON_MISSING',
      'Say why in `reason`: it is kept in the audit beside what was done, for those who ask later.',
    );
  }
  if (said.length > REASON_MAX_LENGTH) {
    throw new MillraceError(
      'BAD_INPUT',
      `\`reason\` has ${said.length} characters, at most ${REASON_MAX_LENGTH} are kept.`,
      { details: { field: 'reason', maximum: REASON_MAX_LENGTH } },
    );
  }
  return { actor, reason: said.toWellFormed() };
}

/** Dead letters a second. Throws BAD_INPUT. */
export function checkRate(rate: number | undefined): number {
  const perSecond = rate ?? RATE_DEFAULT;
  if (Number.isFinite(perSecond) && perSecond >= 0.01 && perSecond <= RATE_MAX) return perSecond;
  throw new MillraceError('BAD_INPUT', `\`ratePerSecond\` must be a number from 0.01 to ${RATE_MAX}.`, {
    details: { field: 'ratePerSecond', maximum: RATE_MAX },
  });
}

/** Throws BAD_INPUT for values that cannot be what they should be. */
export function checkDeadLetterFilter(filter: DeadLetterFilter): DeadLetterMatch {
  const ids = filter.ids ?? undefined;
  if (ids !== undefined && (!Array.isArray(ids) || ids.length > IDS_MAX_COUNT)) {
    throw new MillraceError('BAD_INPUT', `Filter \`ids\` must be a list of at most ${IDS_MAX_COUNT} ids.`);
  }
  return {
    ids: ids?.map((id) => text('ids', id)),
    consumer: optional('consumer', filter.consumer),
    key: optional('key', filter.key),
    state: stateOf(filter.state),
    fingerprint: optional('fingerprint', filter.fingerprint),
    inputType: optional('eventType', filter.eventType),
    correlationId: optional('correlationId', filter.correlationId),
    since: time('since', filter.since),
    until: time('until', filter.until),
  };
}

/** Throws BAD_INPUT. */
export function checkAuditFilter(filter: AuditFilter): AuditMatch {
  return {
    action: optional('action', filter.action),
    actor: optional('actor', filter.actor),
    target: optional('target', filter.target),
    since: time('since', filter.since),
    until: time('until', filter.until),
  };
}

const refused = (field: string, why: string): MillraceError =>
  new MillraceError('BAD_INPUT', `Filter \`${field}\` ${why}.`, { details: { field } });

function stateOf(value: unknown): 'RETRYING' | 'DEAD' | undefined {
  if (value == null) return undefined;
  if (value === 'RETRYING' || value === 'DEAD') return value;
  throw refused('state', 'must be RETRYING or DEAD');
}

const optional = (field: string, value: unknown): string | undefined =>
  value == null ? undefined : text(field, value);

function text(field: string, value: unknown): string {
  const problem = idProblem(value, DOCUMENT_ID_MAX_LENGTH);
  if (problem === undefined && typeof value === 'string') return value;
  throw refused(field, problem ?? 'must be a string');
}

function time(field: string, value: unknown): Date | undefined {
  if (value == null) return undefined;
  if (value instanceof Date && !Number.isNaN(value.getTime())) return value;
  throw refused(field, 'must be a valid time');
}

/** Without a state those that are DEAD are meant: RETRYING ones are tried by themselves. Who names one means it as it is. */
export function operationMatch(filter: DeadLetterFilter): DeadLetterMatch {
  const match = checkDeadLetterFilter(filter);
  return match.state === undefined && match.ids?.length !== 1 ? { ...match, state: 'DEAD' } : match;
}
