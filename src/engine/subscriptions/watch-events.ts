import type { LRUCache } from 'lru-cache';
import type { Model } from '../../define/model.ts';
import { MillraceError } from '../../errors.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { EventPages, LogPart } from '../../store/event-pages.ts';
import type { PullSource } from '../concurrency/pull-stream.ts';
import type { EventDelivery, EventFilterInput } from '../contract/runtime.ts';
import type { ToEvent } from '../log/decode-event.ts';
import type { LogReader } from '../log/log-reader.ts';
import {
  checkEventFilter,
  completePart,
  type EventFilter,
  matchesEvent,
  selectivePart,
} from '../reads/event-filter.ts';
import { TIME_TOLERANCE_MS } from '../reads/read-events.ts';
import { encodeEventCursor } from '../views/cursor.ts';
import { FIRST_PAGE_COUNT, nextPageCount, PAGE_COUNT } from '../views/page-size.ts';

export interface WatchEventsDeps {
  readonly model: Model;
  readonly logId: string;
  readonly pages: EventPages;
  readonly logReader: LogReader;
  readonly toEvent: ToEvent;
  /**
   * The newest messages, as the same objects for all who watch the log here, so that what is made of them is made once. Few: what
   * is made of them lives as long.
   */
  readonly delivered: LRUCache<LogDocument, EventDelivery>;
}

/** What to watch. */
export interface EventPlan {
  readonly filter: EventFilter;
  readonly part: LogPart;
}
/** Throws BAD_INPUT and UNKNOWN_AGGREGATE. Any combination of conditions is served. */
export function planWatch(model: Model, input: EventFilterInput): EventPlan {
  const filter = checkEventFilter(input);
  return { filter, part: selectivePart(model, filter) };
}

/** Farther behind than this, a filter is looked up in its index instead of passing the whole log before it. */
const FAR_COUNT = 2_000;

const dataOf = (event: LogDocument | undefined): unknown => event?.data;

/**
 * Every event that matches, once, in order of position, from `begin` (exclusive) on; CAUGHT_UP when it reaches the end
 * of the log the first time, and again whenever it had fallen behind by a page. Its cursor is good after any of them.
 * Conditions are evaluated here while it tails the log. Holds two pages at most, of about half a megabyte each; a slow
 * reader reads on from the log. An event that this process cannot read ends the stream with UNKNOWN_EVENT (retryable).
 */
export class EventSource implements PullSource<EventDelivery> {
  readonly #deps: WatchEventsDeps;
  readonly #filter: EventFilter;
  readonly #part: LogPart;
  readonly #begin: Promise<number>;
  readonly #unlisten: () => void;
  /** Everything up to here was looked at. */
  #position: number | undefined;
  #page: LogDocument[] = [];
  #pageCount = FIRST_PAGE_COUNT;
  /** The page after it, read while this one is sent, where there is one. */
  #ahead: Promise<readonly LogDocument[]> | undefined;
  /** Events since it was at the end of the log. */
  #behindCount = 0;
  #caughtUp = false;

  constructor(deps: WatchEventsDeps, plan: EventPlan, begin: Promise<number>, wake: () => void) {
    this.#deps = deps;
    this.#filter = plan.filter;
    this.#part = plan.part;
    this.#begin = begin;
    // Listening starts before the first read, so no advance falls between the two.
    this.#unlisten = deps.logReader.onAdvance(wake);
  }

  async take(): Promise<EventDelivery | undefined> {
    this.#position ??= await this.#begin;
    for (;;) {
      const event = this.#page.shift();
      if (event !== undefined) {
        return this.#deliveryOf(event);
      }
      const atEnd = await this.#readPage(this.#position);
      if (!atEnd || this.#page.length > 0) continue;
      if (this.#caughtUp) return undefined;
      this.#caughtUp = true;
      return { signal: 'CAUGHT_UP', cursor: this.#cursorAt(this.#position), event: null };
    }
  }

  stop(): void {
    this.#unlisten();
    this.#page = [];
    this.#ahead = undefined;
  }

  #deliveryOf(event: LogDocument): EventDelivery {
    const known = this.#deps.delivered.get(event);
    if (known !== undefined) return known;
    const delivery = { signal: 'UPDATE', cursor: this.#cursorAt(event._id), event: this.#deps.toEvent(event) } as const;
    this.#deps.delivered.set(event, delivery);
    return delivery;
  }

  #cursorAt(position: number): string {
    return encodeEventCursor(this.#deps.logId, position);
  }

  /** Returns true when the end of the log is reached. */
  async #readPage(position: number): Promise<boolean> {
    const { end } = this.#deps.logReader;
    if (this.#part.by !== 'position' && end - position > FAR_COUNT) {
      await this.#lookUp(position);
      return false;
    }
    const events = await this.#eventsAfter(position);
    this.#position = events.at(-1)?._id ?? position;
    this.#page = events.filter((event) => matchesEvent(this.#filter, event));
    this.#behindCount = events.length === 0 ? 0 : this.#behindCount + events.length;
    if (this.#behindCount >= PAGE_COUNT) this.#caughtUp = false;
    const isFull = events.length === this.#pageCount;
    this.#pageCount = nextPageCount(events, this.#pageCount, dataOf);
    if (isFull && end - this.#position > this.#pageCount) {
      this.#ahead = this.#deps.logReader.read(this.#position, this.#pageCount);
      this.#ahead.catch(() => undefined);
    }
    return events.length === 0;
  }

  async #eventsAfter(position: number): Promise<readonly LogDocument[]> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    const events = await ahead;
    // What was not there then may be by now.
    return events === undefined || events.length === 0 ? this.#deps.logReader.read(position, this.#pageCount) : events;
  }

  /** A page that is not full has all there is up to `end`: the same reads showed it, and not a hint, which a new primary may not show yet. */
  async #lookUp(position: number): Promise<void> {
    this.#ahead = undefined;
    const end = Math.max(position, await this.#deps.pages.end());
    const { part } = await completePart(this.#deps.model, this.#deps.pages, this.#filter, this.#part);
    const limit = this.#pageCount;
    const scan = { part, after: position, before: end + 1, backward: false, limit };
    const empty = part.by === 'type' && part.types.length === 0;
    const events = empty ? [] : await this.#deps.pages.scan(scan);
    this.#caughtUp = false;
    this.#position = events.length === limit ? (events.at(-1)?._id ?? end) : end;
    this.#pageCount = nextPageCount(events, this.#pageCount, dataOf);
    this.#page = events.filter((event) => matchesEvent(this.#filter, event));
  }
}

/** A cursor of another gateway may be newer than what a new primary shows for a moment. */
const END_WAITS_MS = [50, 200, 800] as const;

/** Position that an event stream begins after: the cursor, else `since`, else the end of the log. Throws BAD_CURSOR. */
export async function beginOfEvents(
  { pages }: Pick<WatchEventsDeps, 'pages'>,
  { since }: EventFilter,
  cursor: number | undefined,
): Promise<number> {
  if (cursor === undefined) {
    return since === undefined
      ? pages.end()
      : (await pages.positionAt(new Date(since.getTime() - TIME_TOLERANCE_MS))) - 1;
  }
  for (const waitMs of [...END_WAITS_MS, undefined]) {
    if (cursor <= (await pages.end())) return cursor;
    if (waitMs !== undefined) await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
  throw new MillraceError('BAD_CURSOR', 'This cursor lies beyond the end of the log: it was issued by another one.');
}
