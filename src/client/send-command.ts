import { MillraceClientError, type WireError } from './client-error.ts';
import type { ReadDocument } from './document.ts';
import { type HttpOptions, requestUntil } from './http-request.ts';
import { newCommandId } from './retry-delay.ts';
import type { CommandEnd, ViewStore } from './view-store.ts';

interface SentData {
  readonly commandId: string;
  readonly outcome: unknown;
  readonly data: Readonly<Record<string, unknown>>;
  readonly errors?: readonly WireError[];
}

/**
 * One command, with the same commandId in every try, so that it takes effect at most once. An answer that never came is
 * OUTCOME_UNKNOWN; a request that no gateway can have taken is what it is. An outcome is the answer, also where another
 * field of it failed: `view` of a receipt may be null with VIEW_BEHIND.
 */
export async function sendCommand(
  http: HttpOptions,
  document: ReadDocument,
  variables: Readonly<Record<string, unknown>>,
  limits: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
  optimistic?: {
    readonly view: ViewStore<unknown>;
    readonly apply: (documents: readonly unknown[]) => readonly unknown[];
  },
): Promise<SentData> {
  if (!document.variables.has('commandId')) {
    throw new MillraceClientError(
      'BAD_DOCUMENT',
      `The mutation "${document.root}" cannot be sent safely: declare "$commandId: ID" and pass it as "commandId: $commandId".`,
    );
  }
  if (optimistic !== undefined && !document.selected.has('__typename')) {
    throw new MillraceClientError(
      'BAD_DOCUMENT',
      `An optimistic change has to be taken back when "${document.root}" is refused: select "__typename" in it.`,
    );
  }
  const commandId = typeof variables.commandId === 'string' ? variables.commandId : newCommandId();
  optimistic?.view.begin(commandId, optimistic.apply);
  try {
    const request = {
      query: document.text,
      variables: { ...variables, commandId },
      operationName: document.operationName,
    };
    const outcomeIn = (data: unknown): unknown => (data as SentData['data'] | null | undefined)?.[document.root];
    const suffices = (data: unknown): boolean => outcomeIn(data) != null;
    const answer = await requestUntil(http, request, { ...limits, commandId, suffices });
    const { errors = [] } = answer;
    const data = answer.data as SentData['data'];
    const outcome = outcomeIn(data);
    optimistic?.view.end(commandId, endOf(outcome));
    return { commandId, outcome, data, ...(errors.length > 0 ? { errors } : {}) };
  } catch (error) {
    optimistic?.view.end(commandId, { kind: 'nothing' });
    throw error;
  }
}

/** What the receipt says of the effect. Where it does not say `version` or `id`, only a change that names the command will. */
function endOf(outcome: unknown): CommandEnd {
  if (typeof outcome !== 'object' || outcome === null) return { kind: 'done' };
  const kind = '__typename' in outcome ? outcome.__typename : undefined;
  if (kind !== undefined && kind !== 'CommandAccepted' && kind !== 'CommandQueued') return { kind: 'nothing' };
  if (kind === 'CommandQueued') return { kind: 'queued' };
  if ('version' in outcome && outcome.version === null) return { kind: 'nothing' };
  if (!('version' in outcome && 'id' in outcome)) return { kind: 'done' };
  const { id, version } = outcome;
  return typeof id === 'string' && typeof version === 'number' ? { kind: 'accepted', id, version } : { kind: 'done' };
}
