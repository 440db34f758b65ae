import type { ViewDocument } from '../store/documents.ts';
import type { ViewChange } from './contract.ts';
import { encodeViewCursor } from './cursor.ts';
import type { FeedRun } from './feed-run.ts';
import type { PullSource } from './pull-stream.ts';
import type { FeedLease, ViewFeed } from './view-feed.ts';
import { toRecord, type ViewHandle } from './view-handles.ts';

export interface WatchDeps {
  readonly logId: string;
  readonly view: ViewHandle;
  readonly feed: ViewFeed;
}

/**
 * SNAPSHOT (node null when the document does not exist), then UPDATE and REMOVED. It listens first and reads the
 * snapshot then, so there is no gap; states that the snapshot holds already are dropped. Holds one document at most.
 */
export function documentSource(deps: WatchDeps, id: string, wake: () => void): PullSource<ViewChange> {
  let lease: FeedLease | undefined;
  let unlisten: (() => void) | undefined;
  let stopped = false;
  let cursor: CursorKeeper | undefined;
  /** Revision of the state that the subscriber has; undefined before the snapshot. */
  let seen: number | undefined;
  let newest: ViewDocument | undefined;

  const letGo = (): void => {
    unlisten?.();
    lease?.release();
  };
  const snapshot = async (): Promise<ViewChange | undefined> => {
    lease = await deps.feed.acquire();
    if (!stopped) {
      unlisten = lease.run.audience.addDocument(id, (document) => {
        newest = document;
        wake();
      });
    }
    if (stopped) {
      letGo();
      return undefined;
    }
    cursor = createCursorKeeper(deps, lease.run, await lease.run.confirm());
    const document = await deps.view.read(id);
    seen = document?._revision ?? 0;
    return { ...changeOf('SNAPSHOT', document, 0, cursor.begin()), id };
  };

  return {
    take() {
      if (seen === undefined || cursor === undefined) return snapshot();
      const document = newest;
      newest = undefined;
      if (document === undefined || document._revision <= seen) return undefined;
      const before = seen;
      seen = document._revision;
      return changeOf(document._deleted === undefined ? 'UPDATE' : 'REMOVED', document, before, cursor.current());
    },
    stop() {
      stopped = true;
      letGo();
    },
  };
}

/** A message about a document; `seen` is the revision that the subscriber knows of it. */
export function changeOf(
  signal: ViewChange['signal'],
  document: ViewDocument | undefined,
  seen: number,
  cursor: string,
): ViewChange {
  const present = document !== undefined && document._deleted === undefined && signal !== 'REMOVED';
  return {
    signal,
    cursor,
    id: document?._id ?? null,
    node: present ? toRecord(document) : null,
    // The store keeps the last few; that is the cap.
    origins: (document?._origins ?? []).filter(({ revision }) => revision > seen).map(({ commandId }) => commandId),
  };
}

/** Cursors of one subscriber. They never go back, and never beyond what it was sent. */
export interface CursorKeeper {
  /** What the snapshot holds. */
  begin(): string;
  /** What the feed has told, once the subscriber has been sent all of it. */
  current(): string;
}

export function createCursorKeeper(deps: WatchDeps, run: FeedRun, begun: readonly number[]): CursorKeeper {
  const of = (revisions: readonly number[]): string =>
    encodeViewCursor({ logId: deps.logId, ...deps.view.build, revisions });
  let overtaken = false;
  return {
    begin: () => of(begun),
    current() {
      if (overtaken) return run.cursor();
      const told = run.revisions();
      overtaken = begun.every((revision, partition) => (told[partition] ?? 0) >= revision);
      const merged = Array.from({ length: Math.max(begun.length, told.length) }, (_, partition) =>
        Math.max(begun[partition] ?? 0, told[partition] ?? 0),
      );
      return overtaken ? run.cursor() : of(merged);
    },
  };
}
