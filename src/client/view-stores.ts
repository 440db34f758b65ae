import { MillraceClientError } from './client-error.ts';
import type { ReadDocument } from './document.ts';
import type { SubscriptionSink } from './subscription.ts';
import { ViewStore } from './view-store.ts';

const SETTLE_MS = 10_000;
/** A queue may be long. */
const QUEUED_SETTLE_MS = 60_000;
const GRACE_MS = 1_000;
/** A page that is drawn on a server, or never shown, asks for a store and does not listen to it. */
const UNUSED_MS = 10_000;

/** One store for equal operations, while somebody listens to it. */
export class ViewStores {
  readonly #byKey = new Map<string, ViewStore<unknown>>();
  readonly #unusedMs: number;

  constructor({ unusedMs = UNUSED_MS }: { readonly unusedMs?: number } = {}) {
    this.#unusedMs = unusedMs;
  }

  /** `open` starts the subscription. Throws BAD_DOCUMENT where the document does not select what a view needs. */
  watch(
    document: ReadDocument,
    variables: Readonly<Record<string, unknown>>,
    open: (sink: SubscriptionSink<unknown>) => () => void,
  ): ViewStore<unknown> {
    for (const name of ['signal', 'id', 'node']) if (!document.selected.has(name)) throw lacks(document, name);
    const key = `${document.text}\n${document.operationName ?? ''}\n${stableJson(variables)}`;
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const forget = (): void => {
      if (this.#byKey.get(key) === store) this.#byKey.delete(key);
    };
    const unused = setTimeout(forget, this.#unusedMs);
    (unused as { unref?(): void }).unref?.();
    const store: ViewStore<unknown> = new ViewStore<unknown>({
      open: (sink) => {
        clearTimeout(unused);
        if (!this.#byKey.has(key)) this.#byKey.set(key, store);
        return open(sink);
      },
      root: document.root,
      single: document.rootArguments.has('id'),
      settleMs: SETTLE_MS,
      queuedSettleMs: QUEUED_SETTLE_MS,
      graceMs: GRACE_MS,
      onClosed: forget,
    });
    this.#byKey.set(key, store);
    return store;
  }

  close(): void {
    for (const store of [...this.#byKey.values()]) store.close();
  }
}

/** Equal for equal values, whatever the order of their names. */
const stableJson = (value: unknown): string =>
  JSON.stringify(value, (_name, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );

const lacks = (document: ReadDocument, name: string): MillraceClientError =>
  new MillraceClientError('BAD_DOCUMENT', `To be watched, "${document.root}" has to select "${name}".`);
