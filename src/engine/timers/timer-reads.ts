import type { Model } from '../../define/model.ts';
import type { Schedule } from '../../define/schedule.ts';
import type { DelayedCommandStore } from '../../store/delayed-commands.ts';
import type { QueuedCommandDocument, TimerDocument } from '../../store/documents.ts';
import type { TimerPlace, TimerStore } from '../../store/timers.ts';
import { ServerClock } from '../concurrency/server-clock.ts';
import type { PageInput } from '../contract/runtime.ts';
import type { PendingTimer, ScheduleState, TimerFilter, TimerReads } from '../contract/timers.ts';
import { decodeRecordCursor, encodeRecordCursor } from '../views/cursor.ts';
import { type ReadItems, readPage, readPageInput } from '../views/page.ts';

/** How long an answer of MongoDB's clock is good for what people read. */
const CLOCK_MAX_AGE_MS = 10_000;

/** What people see of timers, schedules and delayed commands. */
export function createTimerReads(deps: {
  readonly logId: string;
  readonly timers: Pick<TimerStore, 'now' | 'list' | 'schedules'>;
  readonly delayed: Pick<DelayedCommandStore, 'list'>;
  /** Without it: timers of all generations, also of those that no code runs any more, and schedules that the workers know. */
  readonly model?: Pick<Model, 'schedules' | 'consumers'>;
}): TimerReads {
  const { logId } = deps;
  const clock = new ServerClock(() => deps.timers.now());
  const placeOf = (cursor: string): TimerPlace => {
    const [at, id] = decodeRecordCursor(cursor, logId, 'timers', ['number', 'string']);
    return { dueAt: new Date(Number(at)), id: String(id) };
  };
  const lateMs = (dueAt: Date): number => Math.max(0, clock.now() - dueAt.getTime());
  return {
    async timers(filter: TimerFilter, page: PageInput) {
      const request = readPageInput(page, placeOf);
      await clock.sync(CLOCK_MAX_AGE_MS);
      return readPage(request, readItems(deps, filter), ({ id, node }) => ({
        cursor: encodeRecordCursor(logId, 'timers', [node.dueAt.getTime(), id]),
        node: { ...node, lateMs: lateMs(node.dueAt) },
      }));
    },
    async schedules() {
      const [stored] = await Promise.all([deps.timers.schedules(), clock.sync(CLOCK_MAX_AGE_MS)]);
      const byName = new Map(stored.map((timer) => [timer.name, timer]));
      const declared: Iterable<Pick<Schedule, 'name' | 'description' | 'cron' | 'timeZone'>> =
        deps.model?.schedules.values() ?? stored.flatMap(scheduleOf);
      return Array.from(declared, ({ name, description, cron, timeZone }): ScheduleState => {
        const timer = byName.get(name);
        const last = timer?.last;
        return {
          name,
          description: description ?? null,
          cron,
          timeZone,
          nextAt: timer?.dueAt ?? null,
          lateMs: timer === undefined ? 0 : lateMs(timer.dueAt),
          last: last === undefined ? null : { ...last, commandId: `${name}@${last.dueAt.toISOString()}` },
          failure: timer?.failure ?? null,
        };
      });
    },
  };
}

const scheduleOf = ({ name, cron, timeZone, unknownSince }: TimerDocument) =>
  cron === undefined || timeZone === undefined || unknownSince !== undefined
    ? []
    : [{ name, description: undefined, cron, timeZone }];

interface Item {
  /** As stored: part of the place in the list. */
  readonly id: string;
  readonly node: Omit<PendingTimer, 'lateMs'>;
}

/** Both collections in one order. */
function readItems(
  { timers, delayed, model }: Parameters<typeof createTimerReads>[0],
  filter: TimerFilter,
): ReadItems<TimerPlace, Item> {
  const kind = filter.kind ?? undefined;
  const consumer = filter.consumer ?? undefined;
  const dueBefore = filter.dueBefore ?? undefined;
  const stored = kind === 'SAGA' ? 'saga' : kind === 'SCHEDULE' ? 'schedule' : undefined;
  const sagas = model?.consumers
    .filter((one) => one.kind === 'saga')
    .map(({ name, generation }) => ({ consumer: name, generation }));
  return async (slice) => {
    const [ofTimers, ofCommands] = await Promise.all([
      kind === 'COMMAND' ? [] : timers.list({ kind: stored, consumer, sagas, dueBefore }, slice),
      stored === undefined ? delayed.list({ target: consumer, dueBefore }, slice) : [],
    ]);
    const items = [...ofTimers.map(timerItem), ...ofCommands.flatMap(commandItem)].sort(byPlace);
    if (slice.turned) items.reverse();
    return items.slice(0, slice.limit);
  };
}

/** As MongoDB orders them: text by its bytes. */
const byPlace = (a: Item, b: Item): number =>
  a.node.dueAt.getTime() - b.node.dueAt.getTime() || Buffer.compare(Buffer.from(a.id), Buffer.from(b.id));

const timerItem = ({ _id, kind, name, consumer, key, dueAt, setAt, correlationId }: TimerDocument): Item => ({
  id: _id,
  node: {
    id: _id,
    kind: kind === 'saga' ? 'SAGA' : 'SCHEDULE',
    name,
    consumer: consumer ?? null,
    key: key ?? null,
    dueAt,
    setAt,
    correlationId,
  },
});

function commandItem(command: QueuedCommandDocument): readonly Item[] {
  const { _id, logId, stream, commandId, type, target, id, notBefore, receivedAt, meta } = command;
  if (notBefore === undefined) return [];
  const { correlationId } = meta;
  const named = `${logId}/command/${stream}/${commandId}`;
  const facts = { name: type, consumer: target, key: id, dueAt: notBefore, setAt: receivedAt, correlationId };
  return [{ id: _id, node: { id: named, kind: 'COMMAND', ...facts } }];
}
