import { LRUCache } from 'lru-cache';
import type { Model } from '../define/model.ts';
import type { Logger } from '../logger.ts';
import type { LogDocument } from '../store/documents.ts';
import type { EventPages } from '../store/event-pages.ts';
import type { ViewStore } from '../store/view-documents.ts';
import type { PastStore } from '../store/view-past.ts';
import { createOpenStreams } from './concurrency/open-streams.ts';
import type { EventDelivery, GapReason, ReadOptions, Runtime, ViewChange } from './contract/runtime.ts';
import { decodeEvent, type ToEvent } from './log/decode-event.ts';
import { type DecodeOnce, decodeOnce } from './log/decode-once.ts';
import type { HintBus, ViewHint } from './log/hint-bus.ts';
import type { LogReader } from './log/log-reader.ts';
import { createPastReads } from './reads/document-past.ts';
import { runQuery } from './reads/query-runner.ts';
import { readEvents } from './reads/read-events.ts';
import { createViewReads, type Ready, readiness } from './reads/read-view.ts';
import type { FeedTiming } from './subscriptions/feed-run.ts';
import { createViewFeed, type ViewFeed } from './subscriptions/view-feed.ts';
import { DocumentSource } from './subscriptions/watch-document.ts';
import { ListSource } from './subscriptions/watch-documents.ts';
import { beginOfEvents, EventSource, planWatch } from './subscriptions/watch-events.ts';
import type { WatchDeps, WatchSource } from './subscriptions/watch-view.ts';
import { decodeEventCursor, decodeViewCursor, type ViewCursor } from './views/cursor.ts';
import { createLiveViews, notStored } from './views/live-views.ts';
import type { ServedViews } from './views/served-views.ts';
import { checkFilter } from './views/view-filter.ts';
import { checkDocumentId, createViewHandles, untilLevel, type ViewHandles } from './views/view-handles.ts';
import { createAtLeast, type FindDecided } from './views/wait-at-least.ts';

export interface ReadsDeps {
  readonly model: Model;
  readonly views: ViewStore;
  readonly past: PastStore;
  readonly events: EventPages;
  readonly hintBus: HintBus;
  readonly logReader: LogReader;
  readonly settings: {
    readonly logId: string;
    readonly atLeastTimeoutMs: number;
    readonly historyMaxEvents: number;
  };
  readonly logger: Logger;
  /** Shared with others of this process that decode the log. */
  readonly decode?: DecodeOnce;
  readonly timing?: Partial<FeedTiming>;
  /** Which generations are read; absent: those of the model. The caller's. */
  readonly served?: ServedViews | undefined;
  /** For tokens of queued commands. */
  readonly decided?: FindDecided | undefined;
}

/** The reading half of a runtime. The stores, the hint bus and the log reader belong to the caller. */
export interface Reads
  extends Pick<
    Runtime,
    | 'document'
    | 'documents'
    | 'countDocuments'
    | 'documentAsOf'
    | 'documentHistory'
    | 'watchDocument'
    | 'watchDocuments'
    | 'ask'
    | 'events'
    | 'watchEvents'
  > {
  /**
   * Whether a view comes to show what a token's command caused, by a time (epoch); false as soon as it is seen that it will not by
   * itself.
   */
  shows(view: string, token: string, deadlineMs: number): Promise<boolean>;
  /** Every open subscription of the view gets GAP with this reason, and a snapshot of what is served then. */
  restartWatches(view: string, reason: GapReason): void;
  /** What is open now; for tests of leaks and for metrics. */
  readonly state: {
    readonly streamCount: number;
    readonly feeds: readonly { readonly view: string; readonly running: boolean; readonly listenerCount: number }[];
  };
  /** Ends all streams, and waiting reads with SHUTTING_DOWN. */
  close(): void;
}

const TIMING: FeedTiming = { pollMs: 1_000, holeWaitMs: 20, graceMs: 5_000 };

/** Resources of a runtime's reads: `docs/architecture.md` shows how they hang together. */
export function createReads(deps: ReadsDeps): Reads {
  const { model } = deps;
  const { logId, atLeastTimeoutMs, historyMaxEvents } = deps.settings;
  const decode = deps.decode ?? decodeOnce(model);
  const past = { model, pages: deps.events, decode, maxEvents: historyMaxEvents };
  const views = createViewHandles(model, deps.views, deps.served, createLiveViews(past));
  // Hints are heard from the beginning.
  for (const name of model.projectorOf.keys()) views.get(name);
  const reads = createViewReads({ logId });
  const atLeast = createAtLeast({ ...deps, logId, decode });
  const toEvent = decodeEvent(decode);
  const ready = (options: ReadOptions | undefined): Ready => readiness(atLeast, options, atLeastTimeoutMs);
  const watches = createWatches(deps, views, toEvent);
  const unlisten = deps.hintBus.listen((hint) => {
    if (hint.kind !== 'view') return;
    const view = views.known(hint.view, hint.generation);
    if (view === undefined) return;
    // First: whoever hears of it reads, and a read that is older than the hint would lose what it told of.
    const readable = hint.time !== undefined && deps.views.notBefore(hint.time);
    view.progress.note(hint, readable);
    watches.note(hint);
  });
  const stops = [
    unlisten,
    deps.served?.before(async ({ view, from, to }) => {
      const [before, after] = [views.of(view, from), views.of(view, to)];
      if (before !== undefined && after !== undefined) await untilLevel(after.progress, before.progress);
    }),
    deps.served?.after(({ view }) => watches.restartWatches(view, 'GENERATION')),
  ];
  return {
    document: async (name, id, options) => reads.document(views.get(name), id, ready(options)),
    documents: async (name, query) => reads.documents(views.get(name), query, ready(query)),
    countDocuments: async (name, query) => reads.count(views.get(name), query, ready(query)),
    ...createPastReads({ ...past, logId, views, past: deps.past }),
    ask: async (name, input, options) => runQuery({ model, views, reads }, name, input, ready(options)),
    events: async (filter, page) => readEvents({ model, logId, pages: deps.events, toEvent }, filter, page),
    watchDocument: watches.watchDocument,
    watchDocuments: watches.watchDocuments,
    watchEvents: watches.watchEvents,
    shows: async (name, token, deadlineMs) => atLeast.reached(views.get(name).progress, token, deadlineMs),
    restartWatches: watches.restartWatches,
    get state() {
      return watches.state;
    },
    close() {
      for (const stop of stops) stop?.();
      atLeast.close();
      watches.close();
    },
  };
}

type Watches = Pick<
  Reads,
  'watchDocument' | 'watchDocuments' | 'watchEvents' | 'restartWatches' | 'state' | 'close'
> & {
  note(hint: ViewHint): void;
};

/** Bad names, ids, filters and cursors are thrown by the call itself; what fails later, by the stream. */
function createWatches(deps: ReadsDeps, views: ViewHandles, toEvent: ToEvent): Watches {
  const { model, logger, views: store } = deps;
  const { logId } = deps.settings;
  const timing = { ...TIMING, ...deps.timing };
  const streams = createOpenStreams();
  const feeds = new Map<string, ViewFeed>();
  const watched = (name: string): WatchDeps => ({
    served() {
      const view = views.get(name);
      const key = feedKey(view.build);
      const feed = feeds.get(key) ?? createViewFeed(view, { logId, store, logger, timing });
      feeds.set(key, feed);
      return { view, feed };
    },
  });
  const delivered = new LRUCache<LogDocument, EventDelivery>({ max: 64 });
  const sources = new Map<string, Set<WatchSource>>();
  const open = (name: string, signal: AbortSignal, start: (wake: () => void) => WatchSource) =>
    streams.open<ViewChange>(signal, (wake) => {
      const source = start(wake);
      const ofView = sources.get(name) ?? new Set();
      sources.set(name, ofView.add(source));
      return {
        take: () => source.take(),
        stop() {
          ofView.delete(source);
          source.stop();
        },
      };
    });
  return {
    watchDocument(name, id, after, signal) {
      const { isStored, progress } = views.get(name);
      if (!isStored) throw notStored(progress.consumer);
      checkDocumentId(id);
      const from = cursorOf(after);
      return open(name, signal, (wake) => new DocumentSource(watched(name), id, from, wake));
    },
    watchDocuments(name, filter, after, signal) {
      const { filter: checked } = views.get(name).plan(checkFilter(filter));
      const from = cursorOf(after);
      return open(name, signal, (wake) => new ListSource(watched(name), checked, from, wake));
    },
    restartWatches(name, reason) {
      for (const source of [...(sources.get(name) ?? [])]) source.restart(reason);
    },
    watchEvents(input, after, signal) {
      const plan = planWatch(model, input);
      const source = { model, logId, pages: deps.events, logReader: deps.logReader, toEvent, delivered };
      // "Now" is the time of this call, not of the first message that is asked for.
      const begin = beginOfEvents(source, plan.filter, after == null ? undefined : decodeEventCursor(after, logId));
      begin.catch(() => undefined);
      return streams.open<EventDelivery>(signal, (wake) => new EventSource(source, plan, begin, wake));
    },
    note: (hint) => feeds.get(feedKey(hint))?.note(hint),
    get state() {
      const running = [...feeds.values()].map(({ view, state }) => ({ view, ...state }));
      return { streamCount: streams.count, feeds: running };
    },
    close() {
      streams.close();
      for (const feed of feeds.values()) feed.close();
    },
  };
}

const cursorOf = (after: string | undefined): ViewCursor | undefined =>
  after == null ? undefined : decodeViewCursor(after);
const feedKey = ({ view, generation }: Pick<ViewHint, 'view' | 'generation'>): string => `${view}/${generation}`;

/** What a runtime offers of them. */
export const callsOf = ({ state: _state, close: _close, restartWatches: _restart, shows: _shows, ...calls }: Reads) =>
  calls;
