import type { PendingTimer, ScheduleState, TimerReads } from '../engine/contract/timers.ts';
import { createTimerReads } from '../engine/timers/timer-reads.ts';
import { MillraceError } from '../errors.ts';
import { readSettings } from '../settings.ts';
import { connect } from '../store/connect.ts';
import { createDelayedCommandStore } from '../store/delayed-commands.ts';
import { createTimerStore } from '../store/timers.ts';

const kinds = ['SAGA', 'SCHEDULE', 'COMMAND'] as const;
const PAGE_COUNT = 1_000;
const LIMIT_DEFAULT = 50;

/** `millrace timers`: what is due at a time, the first first, and the schedules. Reads only; needs no app file and no Redis. */
export async function timers(options: {
  readonly kind?: string | undefined;
  readonly consumer?: string | undefined;
  readonly dueBefore?: string | undefined;
  readonly limit?: string | undefined;
  readonly json?: boolean | undefined;
}): Promise<number> {
  const filter = { kind: kindOf(options.kind), consumer: options.consumer, dueBefore: timeOf(options.dueBefore) };
  const limit = limitOf(options.limit);
  const settings = readSettings({ ...process.env, REDIS_URL: process.env.REDIS_URL || 'redis://127.0.0.1' });
  const { client, db } = await connect({ ...settings.mongodb, appName: 'millrace-timers' });
  try {
    const { logId } = settings;
    const reads = createTimerReads({
      logId,
      timers: createTimerStore(db, logId),
      delayed: createDelayedCommandStore(db),
    });
    const { found, more } = await firstOf(reads, filter, limit);
    const schedules = await reads.schedules();
    const shown = { timers: found, more, schedules };
    process.stdout.write(options.json === true ? `${JSON.stringify(shown, null, 2)}\n` : page(shown));
    return 0;
  } finally {
    await client.close();
  }
}

async function firstOf(
  reads: TimerReads,
  filter: Parameters<TimerReads['timers']>[0],
  limit: number,
): Promise<{ readonly found: readonly PendingTimer[]; readonly more: boolean }> {
  const found: PendingTimer[] = [];
  for (let after: string | null = null; ; ) {
    const { edges, pageInfo } = await reads.timers(filter, {
      first: Math.min(PAGE_COUNT, limit - found.length),
      after,
    });
    found.push(...edges.map(({ node }) => node));
    if (!pageInfo.hasNextPage || found.length >= limit) return { found, more: pageInfo.hasNextPage };
    after = pageInfo.endCursor;
  }
}

function kindOf(name: string | undefined): (typeof kinds)[number] | undefined {
  if (name === undefined) return undefined;
  const kind = kinds.find((known) => known === name.toUpperCase());
  if (kind !== undefined) return kind;
  throw new MillraceError('SETTINGS_INVALID', `--kind is "${name}". Use one of: ${kinds.join(', ').toLowerCase()}.`);
}

function timeOf(text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const time = new Date(text);
  if (!Number.isNaN(time.getTime())) return time;
  throw new MillraceError('SETTINGS_INVALID', `--due-before is "${text}". Use a time like "2026-05-01T12:00:00Z".`);
}

function limitOf(text: string | undefined): number {
  const limit = Number(text ?? LIMIT_DEFAULT);
  if (Number.isSafeInteger(limit) && limit >= 1) return limit;
  throw new MillraceError('SETTINGS_INVALID', `--limit is "${text}". Use a whole number from 1.`);
}

function page(shown: {
  readonly timers: readonly PendingTimer[];
  readonly more: boolean;
  readonly schedules: readonly ScheduleState[];
}): string {
  const timerRows = shown.timers.map(({ dueAt, lateMs, kind, consumer, name, key }) => [
    dueAt.toISOString(),
    duration(lateMs),
    kind,
    consumer ?? '',
    name,
    key ?? '',
  ]);
  const scheduleRows = shown.schedules.map(({ name, cron, timeZone, nextAt, lateMs, last, failure }) => [
    name,
    cron,
    timeZone,
    nextAt?.toISOString() ?? '',
    failure === null ? duration(lateMs) : `${failure.code}: ${failure.message}`,
    last?.dueAt.toISOString() ?? '',
    last === null ? '' : duration(last.lateMs),
  ]);
  const parts = [
    timerRows.length === 0
      ? 'Nothing waits for its time.'
      : table(['due', 'late', 'kind', 'of', 'name', 'key'], timerRows),
    ...(shown.more ? [`There are more: --limit shows them.`] : []),
    ...(scheduleRows.length === 0
      ? []
      : ['', table(['schedule', 'cron', 'time zone', 'next', 'late', 'last', 'was late'], scheduleRows)]),
  ];
  return `${parts.join('\n')}\n`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map(printable));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells
    .map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd())
    .join('\n');
}

/** Keys are anybody's text: nothing of it may move a terminal's cursor. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is replaced
const printable = (text: string): string => text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?').slice(0, 80);

/** Like "2 h 5 min"; empty for what is not late. */
function duration(ms: number): string {
  if (ms <= 0) return '';
  if (ms < 1_000) return `${ms} ms`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d`;
}
