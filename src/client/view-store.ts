import { type ChangeMessage, changeIn } from './change-message.ts';
import { MillraceClientError } from './client-error.ts';
import { type Accepted, idOf, OptimisticLayer, type ShownDocument } from './optimistic-layer.ts';
import type { SubscriptionSink, SubscriptionStatus } from './subscription.ts';

/** A view as a screen shows it. A new object for each change, and only then. */
export interface ViewState<TNode> {
  /** In the order in which they came; sort them as you like. */
  readonly documents: readonly TNode[];
  /** The first of them: the one of a subscription to one document. */
  readonly document: TNode | undefined;
  /** There was no snapshot yet. */
  readonly isLoading: boolean;
  /** Everything that the gateway has is here, and changes come as they happen. */
  readonly isLive: boolean;
  /** What is shown may be old: the connection is lost, or is catching up. */
  readonly isStale: boolean;
  /** It is over; what can be tried again is tried again and never shown here. */
  readonly error: MillraceClientError | undefined;
  readonly status: SubscriptionStatus | undefined;
}

/** How a command of a screen ended, for its optimistic change. */
export type CommandEnd =
  | ({ readonly kind: 'accepted' } & Accepted)
  /** Accepted, with a receipt that does not say `id` and `version`. */
  | { readonly kind: 'done' }
  /** Accepted and to be carried out by a worker. */
  | { readonly kind: 'queued' }
  /** Refused, failed, or accepted without an event. */
  | { readonly kind: 'nothing' };

export interface ViewStoreOptions {
  /** Starts the subscription; returns how to end it. */
  readonly open: (sink: SubscriptionSink<unknown>) => () => void;
  readonly root: string;
  /** Of one document: its snapshot is one message, and complete. */
  readonly single: boolean;
  /** An accepted command whose effect does not show here for so long (another view's, say) leaves; only a live view tells. */
  readonly settleMs: number;
  /** The same for a command that waits for a worker. */
  readonly queuedSettleMs: number;
  /** The subscription goes on for so long without a listener: a screen that is drawn again finds it there. */
  readonly graceMs: number;
  readonly onClosed: () => void;
}

const ORIGINS_KEPT_MAX_COUNT = 1_000;

const loading: ViewState<never> = {
  documents: [],
  document: undefined,
  isLoading: true,
  isLive: false,
  isStale: false,
  error: undefined,
  status: undefined,
};

/**
 * Folds the messages of a view subscription (of one document or a list) into what a screen shows, in the form that
 * React's useSyncExternalStore and its like take. A snapshot is shown when it is complete, in one step; until then what
 * was there before stays, marked stale.
 */
export class ViewStore<TNode> {
  readonly #options: ViewStoreOptions;
  readonly #layer = new OptimisticLayer<TNode>();
  readonly #listeners = new Set<() => void>();
  #documents = new Map<string, ShownDocument<TNode>>();
  /** The snapshot that is coming. */
  #staged: Map<string, ShownDocument<TNode>> | undefined;
  /** Messages that wait for the receipt of a command of ours, in order. */
  #held: ChangeMessage[] = [];
  /** Commands that were seen in messages, the newest: one that is sent again must not be laid over its own effect. */
  readonly #origins = new Set<string>();
  #state: ViewState<TNode> = loading;
  #close: (() => void) | undefined;
  #graceTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ViewStoreOptions) {
    this.#options = options;
  }

  readonly getSnapshot = (): ViewState<TNode> => this.#state;

  /** For pages that are drawn on a server, and for their first drawing in a browser, which has to be the same. */
  readonly getServerSnapshot = (): ViewState<TNode> => loading;

  /** The subscription runs while somebody listens. */
  readonly subscribe = (listener: () => void): (() => void) => {
    clearTimeout(this.#graceTimer);
    this.#listeners.add(listener);
    if (this.#close === undefined && this.#state.error !== undefined)
      this.#state = { ...this.#state, error: undefined };
    this.#close ??= this.#options.open({
      next: ({ data }) => this.#take(changeIn(data, this.#options.root)),
      error: (error) => this.#show({ error, isLive: false, isStale: !this.#state.isLoading }),
      complete: () => this.#show({ isLive: false, isStale: !this.#state.isLoading }),
      status: (status) => this.#onStatus(status),
    });
    return () => {
      if (!this.#listeners.delete(listener) || this.#listeners.size > 0) return;
      this.#graceTimer = setTimeout(() => this.close(), this.#options.graceMs);
      (this.#graceTimer as { unref?(): void }).unref?.();
    };
  };

  /** Ends the subscription; a later listener starts a new one, from a new snapshot. */
  close(): void {
    clearTimeout(this.#graceTimer);
    this.#close?.();
    this.#close = undefined;
    this.#staged = undefined;
    this.#held = [];
    this.#options.onClosed();
    this.#show({ isLive: false, isStale: !this.#state.isLoading, status: undefined });
  }

  /** Shows what a command will do, at once. What `apply` throws now goes to the caller, and nothing is shown. */
  begin(commandId: string, apply: (documents: readonly TNode[]) => readonly TNode[]): void {
    const after = apply(this.#state.documents);
    if (after.some((node) => idOf(node) === undefined)) {
      throw new MillraceClientError('BAD_DOCUMENT', 'An optimistic change needs "id" in the documents; select it.');
    }
    if (this.#origins.has(commandId)) return;
    this.#layer.begin(commandId, apply);
    this.#show({});
  }

  /** The command has ended; what it showed leaves with its effect, or now where there will be none. */
  end(commandId: string, end: CommandEnd): void {
    if (!this.#layer.has(commandId)) return;
    if (end.kind === 'nothing') this.#layer.drop(commandId);
    else {
      if (end.kind === 'accepted') this.#layer.accept(commandId, end);
      const { settleMs, queuedSettleMs } = this.#options;
      this.#giveUpAfter(end.kind === 'queued' ? queuedSettleMs : settleMs, commandId);
    }
    this.#drain();
    this.#show({});
  }

  #giveUpAfter(ms: number, commandId: string): void {
    const timer = setTimeout(() => {
      // While the connection is away nothing can come, so nothing is said by its absence.
      const mayCome = this.#close !== undefined && this.#state.error === undefined && !this.#state.isLive;
      if (mayCome && this.#layer.has(commandId)) this.#giveUpAfter(ms, commandId);
      else this.#giveUp(commandId);
    }, ms);
    (timer as { unref?(): void }).unref?.();
  }

  #giveUp(commandId: string): void {
    if (!this.#layer.drop(commandId)) return;
    this.#drain();
    this.#show({});
  }

  #onStatus(status: SubscriptionStatus): void {
    const live = status.state === 'open' && this.#state.isLive;
    // A connection that stands again is live when the gateway says that everything was sent.
    const again = status.state === 'open' || status.state === 'connecting';
    const isLive = live && again;
    this.#show({ status, isLive, isStale: !isLive && !this.#state.isLoading });
  }

  #take(message: ChangeMessage | undefined): void {
    if (message === undefined) return;
    this.#held.push(message);
    this.#drain();
  }

  /** Folds what waits, in order, up to a message of which it is not clear yet whether it holds a command of ours. */
  #drain(): void {
    let folded = false;
    for (;;) {
      const [message] = this.#held;
      if (message === undefined || this.#isUnclear(message)) break;
      this.#held.shift();
      folded = this.#fold(message) || folded;
    }
    if (!folded) return;
    this.#layer.settle(this.#documents);
    this.#show({});
  }

  #isUnclear(message: ChangeMessage): boolean {
    if (this.#layer.size === 0) return false;
    if (message.signal === 'CAUGHT_UP') {
      return [...(this.#staged ?? [])].some(([id, shown]) => this.#layer.isUnclear(id, shown));
    }
    const { id, signal } = message;
    const alone = signal === 'UPDATE' || (signal === 'SNAPSHOT' && this.#options.single);
    return alone && typeof id === 'string' && this.#layer.isUnclear(id, shownOf(message));
  }

  /** Whether the screen has to be drawn again. */
  #fold(message: ChangeMessage): boolean {
    const { signal, id, node } = message;
    this.#remember(message);
    if (signal === 'GAP') {
      this.#staged = new Map();
      this.#state = { ...this.#state, isLive: false, isStale: !this.#state.isLoading };
      return true;
    }
    if (signal === 'SNAPSHOT') {
      this.#staged ??= new Map();
      if (typeof id === 'string' && node !== null && node !== undefined) this.#staged.set(id, shownOf(message));
      return this.#options.single && this.#caughtUp();
    }
    if (signal === 'CAUGHT_UP') return this.#caughtUp();
    this.#swap();
    if (typeof id !== 'string') return false;
    const shown = shownOf<TNode>(message);
    if (signal === 'REMOVED' || node === null || node === undefined) {
      this.#layer.noteRemoved(id, shown.origins);
      this.#documents.delete(id);
    } else {
      this.#layer.note(id, shown);
      this.#documents.set(id, shown);
    }
    return true;
  }

  #remember(message: ChangeMessage): void {
    for (const commandId of shownOf(message).origins) this.#origins.add(commandId);
    for (const oldest of this.#origins) {
      if (this.#origins.size <= ORIGINS_KEPT_MAX_COUNT) break;
      this.#origins.delete(oldest);
    }
  }

  #caughtUp(): true {
    this.#swap();
    this.#state = { ...this.#state, isLoading: false, isLive: true, isStale: false };
    return true;
  }

  #swap(): void {
    if (this.#staged === undefined) return;
    this.#documents = this.#staged;
    this.#staged = undefined;
    for (const [id, shown] of this.#documents) this.#layer.note(id, shown);
  }

  #show(change: Partial<ViewState<TNode>>): void {
    const documents = this.#layer.over([...this.#documents.values()].map(({ node }) => node));
    const same = documents.length === this.#state.documents.length && documents.every(this.#isShown, this);
    const shown = same ? this.#state.documents : documents;
    this.#state = { ...this.#state, ...change, documents: shown, document: shown[0] };
    for (const listener of [...this.#listeners]) listener();
  }

  #isShown(node: TNode, index: number): boolean {
    return this.#state.documents[index] === node;
  }
}

function shownOf<TNode>({ node, version, origins }: ChangeMessage): ShownDocument<TNode> {
  return {
    node: node as TNode,
    version: typeof version === 'number' ? version : undefined,
    origins: Array.isArray(origins) ? (origins as readonly string[]) : [],
  };
}
