import { useMemo, useSyncExternalStore } from 'react';
import { wireBody } from '../client/http-request.ts';
import type { Document, NodeOf, OpenVariables, ViewState, ViewStore } from '../client/index.ts';
import { useClient } from './provider.ts';

/** A view's state, and its store for {@link useCommand}. */
export interface View<TNode> extends ViewState<TNode> {
  readonly store: ViewStore<TNode>;
}

type Rest<TVariables> =
  Record<string, never> extends OpenVariables<TVariables>
    ? [variables?: OpenVariables<TVariables>]
    : [variables: OpenVariables<TVariables>];

/**
 * Documents of a view subscription (`…Changed(filter)` or `…Changed(id)`) as the gateway pushes them; components with
 * equal documents and variables share one subscription. After a lost connection it goes on where it was, and what was
 * there stays on the screen meanwhile, with `isStale`. Throws BAD_DOCUMENT where the document selects too little, or JSON cannot hold
 * the variables.
 */
export function useView<TData = Record<string, unknown>, TVariables = Record<string, unknown>>(
  document: Document<TData, TVariables>,
  ...[variables]: Rest<TVariables>
): View<NodeOf<TData>> {
  const client = useClient();
  const key = wireBody({ query: '', variables: variables ?? {} });
  // biome-ignore lint/correctness/useExhaustiveDependencies: equal variables are the same, whatever object they come in
  const store = useMemo(
    () => client.watch<TData, TVariables>({ query: document, variables: variables ?? {} } as never),
    [client, document, key],
  );
  const state = useSyncExternalStore(store.subscribe, store.getSnapshot, store.getServerSnapshot);
  return useMemo(() => ({ ...state, store }), [state, store]);
}
