import { useCallback, useEffect, useRef, useState } from 'react';
import type { Document, MillraceClientError, OpenVariables, RequestLimits, Sent } from '../client/index.ts';
import { useClient } from './provider.ts';
import type { View } from './use-view.ts';

export interface UseCommandOptions<TVariables, TNode> extends RequestLimits {
  /** Where `optimistic` is shown. */
  readonly view?: View<TNode>;
  /**
   * The view's documents as they will be; pure, it is called again whenever they change. Shown at once, and until the
   * command's own effect or its refusal is there. Changed documents are new objects with the same `id`.
   */
  readonly optimistic?: (documents: readonly TNode[], variables: OpenVariables<TVariables>) => readonly TNode[];
}

/** Of the last call. */
export interface CommandState<TData> {
  /** Calls that have no answer yet. */
  readonly pendingCount: number;
  readonly outcome: Sent<TData>['outcome'] | undefined;
  readonly error: MillraceClientError | undefined;
}

/**
 * A command as a function, and what became of it. Refusals are outcomes. The promise never rejects: where there is no
 * answer (see `client.send`) it gives undefined, and `error` says why. Where the document or `optimistic` is wrong, too.
 */
export function useCommand<TData = Record<string, unknown>, TVariables = Record<string, unknown>, TNode = unknown>(
  document: Document<TData, TVariables>,
  options: UseCommandOptions<TVariables, TNode> = {},
): [send: (variables: OpenVariables<TVariables>) => Promise<Sent<TData> | undefined>, state: CommandState<TData>] {
  const client = useClient();
  const [state, setState] = useState<CommandState<TData>>({ pendingCount: 0, outcome: undefined, error: undefined });
  // The newest options, and no new function for each drawing.
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const send = useCallback(
    async (variables: OpenVariables<TVariables>): Promise<Sent<TData> | undefined> => {
      const { view, optimistic, ...limits } = latest.current;
      const shown =
        view === undefined || optimistic === undefined
          ? {}
          : {
              optimistic: {
                view: view.store,
                apply: (documents: readonly TNode[]) => optimistic(documents, variables),
              },
            };
      setState((before) => ({ ...before, pendingCount: before.pendingCount + 1, error: undefined }));
      const end = (change: Partial<CommandState<TData>>): void =>
        setState((before) => ({ ...before, pendingCount: before.pendingCount - 1, ...change }));
      try {
        const operation = { query: document, variables } as never;
        const sent = await client.send<TData, TVariables, TNode>(operation, { ...limits, ...shown });
        end({ outcome: sent.outcome, error: undefined });
        return sent;
      } catch (error) {
        end({ error: error as MillraceClientError, outcome: undefined });
        return undefined;
      }
    },
    [client, document],
  );
  return [send, state];
}
