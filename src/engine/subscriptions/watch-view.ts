import { setTimeout as pause } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { ViewDocument } from '../../store/documents.ts';
import type { PullSource } from '../concurrency/pull-stream.ts';
import type { GapReason, ViewChange } from '../contract/runtime.ts';
import { type ViewCursor, withScope } from '../views/cursor.ts';
import { toRecord, type ViewHandle } from '../views/view-handles.ts';
import { type FeedRun, nowS } from './feed-run.ts';
import { holds, isAhead, isTooOld, misfit } from './resume.ts';
import type { ViewFeed } from './view-feed.ts';

/** A view as it is served now. */
export interface WatchedView {
  readonly view: ViewHandle;
  readonly feed: ViewFeed;
}
export interface WatchDeps {
  /** Asked at every beginning: a view may be served from another build by then. */
  readonly served: () => WatchedView;
}

/** A source that can be told to begin again: it then sends GAP with the reason, and a snapshot of what is served now. */
export interface WatchSource extends PullSource<ViewChange> {
  restart(reason: GapReason): void;
}

/** What a subscription begins with. */
export interface Opened {
  readonly view: ViewHandle;
  readonly run: FeedRun;
  /** Revisions that everything read from now on holds. */
  readonly begun: readonly number[];
  readonly cursors: CursorKeeper;
  /** Where to go on; undefined: with a snapshot. */
  readonly from: ViewCursor | undefined;
  /** Why it does not go on where it was asked to. */
  readonly gap: GapReason | undefined;
  close(): void;
}

/** A cursor of another gateway may be newer than what a new primary shows for a moment. */
const AHEAD_WAITS_MS = [50, 200, 800] as const;

/**
 * Listens first, then asks how far the view is: what is read after that and what is heard leave no gap between them.
 * Undefined when it was stopped meanwhile; then nothing is held any more.
 */
export async function openWatch(
  { served }: WatchDeps,
  asked: { readonly scope: string; readonly after: ViewCursor | undefined; readonly gap: GapReason | undefined },
  listen: (run: FeedRun) => () => void,
  isStopped: () => boolean,
): Promise<Opened | undefined> {
  const { view, feed } = served();
  const { scope, after } = asked;
  const lease = await feed.acquire();
  const unlisten = isStopped() ? () => undefined : listen(lease.run);
  const close = (): void => {
    unlisten();
    lease.release();
  };
  try {
    let begun = await lease.run.confirm();
    let gap = asked.gap ?? (after && misfit(after, { ...lease.run.build, scope }));
    if (after !== undefined && gap === undefined) {
      for (const waitMs of AHEAD_WAITS_MS) {
        if (!isAhead(after.revisions, begun) || isStopped()) break;
        await pause(waitMs);
        begun = await lease.run.confirm();
      }
      if (isAhead(after.revisions, begun)) gap = 'AHEAD';
      else if (isTooOld(after, begun, nowS())) gap = 'TOO_OLD';
    }
    if (isStopped()) {
      close();
      return undefined;
    }
    const from = gap === undefined ? after : undefined;
    const cursors = createCursorKeeper(lease.run, scope, begun);
    return { view, run: lease.run, begun, cursors, from, gap, close };
  } catch (error) {
    close();
    throw error;
  }
}

interface Told {
  readonly seen: number;
  readonly change: ViewChange;
}
/** Of the newest few documents only: the texts of messages live as long as these. */
const lastTold = new LRUCache<ViewDocument, readonly Told[]>({ max: 64 });
/** Messages of a document that are kept for equal subscribers: some watch it by itself, some in lists of different filters. */
const TOLD_MAX_COUNT = 8;

/** A message about a document; `seen` is the revision that the subscriber knows of it. The same object for equal subscribers. */
export function changeOf(
  signal: ViewChange['signal'],
  document: ViewDocument | undefined,
  seen: number,
  cursor: string,
): ViewChange {
  const known = document === undefined ? undefined : lastTold.get(document);
  const equal = known?.find((one) => one.seen === seen && one.change.signal === signal && one.change.cursor === cursor);
  if (equal !== undefined) return equal.change;
  const present = document !== undefined && document._deleted === undefined && signal !== 'REMOVED';
  const change: ViewChange = {
    signal,
    cursor,
    gap: null,
    id: document?._id ?? null,
    node: present ? toRecord(document) : null,
    // The store keeps the last few; that is the cap.
    origins: (document?._origins ?? []).filter(({ revision }) => revision > seen).map(({ commandId }) => commandId),
  };
  if (document !== undefined) lastTold.set(document, [{ seen, change }, ...(known ?? [])].slice(0, TOLD_MAX_COUNT));
  return change;
}

/** A message about none. */
export const signalOf = (signal: 'CAUGHT_UP' | 'GAP', cursor: string, gap: GapReason | null = null): ViewChange => ({
  signal,
  cursor,
  gap,
  id: null,
  node: null,
  origins: [],
});

/** Cursors of one subscriber. They never go back, and never beyond what it was sent. */
export interface CursorKeeper {
  /** Nothing can be relied on yet: who comes back with it starts from the beginning. */
  incomplete(): string;
  /** On the way from a cursor: `revisions` were sent, and it is as old as that cursor. */
  underWay(revisions: readonly number[], issuedAtS: number): string;
  /** What the snapshot holds, or what was caught up with. */
  begin(): string;
  /** What the feed has told, once the subscriber has been sent all of it. */
  current(): string;
}

function createCursorKeeper(run: FeedRun, scope: string, begun: readonly number[]): CursorKeeper {
  const of = (revisions: readonly number[], issuedAtS: number): string =>
    withScope(run.placeOf(revisions, issuedAtS), scope);
  const begunAtS = nowS();
  let overtaken = false;
  return {
    incomplete: () => of([], nowS()),
    underWay: of,
    begin: () => of(begun, begunAtS),
    current() {
      if (!overtaken) {
        const told = run.revisions();
        overtaken = holds(told, begun);
        if (!overtaken) {
          const length = Math.max(begun.length, told.length);
          const newest = Array.from({ length }, (_, at) => Math.max(begun[at] ?? 0, told[at] ?? 0));
          return of(newest, begunAtS);
        }
      }
      return withScope(run.place(), scope);
    },
  };
}
