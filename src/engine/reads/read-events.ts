import type { AnyRecorded } from '../../define/event.ts';
import type { Model } from '../../define/model.ts';
import type { EventPages, LogPart } from '../../store/event-pages.ts';
import type { EventFilterInput, Page, PageInput } from '../contract/runtime.ts';
import type { ToEvent } from '../log/decode-event.ts';
import { decodeEventCursor, encodeEventCursor } from '../views/cursor.ts';
import { readPage, readPageInput } from '../views/page.ts';
import { checkEventFilter, completePart, planEvents } from './event-filter.ts';

/**
 * `at` is the clock of the gateway that took the command, so it only nearly rises with the position. Pages by `since` and
 * `until` look this far beyond the positions that the times point at; an event that is out of order by more (a clock
 * that is wrong, a commit placed late by the recovery scan) may be left out of them. Every other filter is exact.
 */
export const TIME_TOLERANCE_MS = 5_000;

export interface EventReadDeps {
  readonly model: Model;
  readonly logId: string;
  readonly pages: EventPages;
  readonly toEvent: ToEvent;
}

/**
 * A page of the log by position, forward or backward; what it costs does not depend on where in the log it lies. Throws
 * BAD_INPUT, BAD_CURSOR, INDEX_MISSING, UNKNOWN_AGGREGATE, and UNKNOWN_EVENT or EVENT_INVALID for an event that this
 * process cannot read (retryable where newer code knows it): a page never leaves one out in silence.
 */
export async function readEvents(
  deps: EventReadDeps,
  input: EventFilterInput,
  page: PageInput,
): Promise<Page<AnyRecorded>> {
  const filter = checkEventFilter(input);
  const planned = planEvents(deps.model, filter);
  const request = readPageInput(page, (cursor) => decodeEventCursor(cursor, deps.logId));
  const { part, end } = await completePart(deps.model, deps.pages, filter, planned);
  if (isEmpty(part))
    return readPage(
      request,
      async () => [],
      () => never(),
    );
  const { since, until } = filter;
  const [low, high] = await Promise.all([
    since === undefined ? 1 : deps.pages.positionAt(new Date(since.getTime() - TIME_TOLERANCE_MS)),
    until === undefined
      ? Number.POSITIVE_INFINITY
      : deps.pages.positionAt(new Date(until.getTime() + TIME_TOLERANCE_MS)),
  ]);
  return readPage(
    request,
    ({ after, before, inclusive, turned, limit }) => {
      const reach = inclusive ? 1 : 0;
      return deps.pages.scan({
        part,
        after: Math.max(low - 1, (after ?? 0) - reach),
        before: Math.min(high, end + 1, (before ?? Number.POSITIVE_INFINITY) + reach),
        backward: turned,
        limit,
        at: { since, until },
      });
    },
    (document) => ({ cursor: encodeEventCursor(deps.logId, document._id), node: deps.toEvent(document) }),
  );
}

const isEmpty = (part: LogPart): boolean => part.by === 'type' && part.types.length === 0;
const never = (): never => {
  throw new Error('an empty page has no items');
};
