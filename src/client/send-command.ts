import { MillraceClientError } from './client-error.ts';
import type { ReadDocument } from './document.ts';
import { type HttpOptions, requestUntil } from './http-request.ts';
import { newCommandId } from './retry-delay.ts';
import type { CommandEnd, ViewStore } from './view-store.ts';

interface SentData {
  readonly commandId: string;
  readonly outcome: unknown;
  readonly data: Readonly<Record<string, unknown>>;
}

/**
 * One command, with the same commandId in every try, so that it takes effect at most once. An answer that never came is
 * OUTCOME_UNKNOWN; a request that no gateway can have taken is what it is.
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
  const commandId = typeof variables.commandId === 'string' ? variables.commandId : newCommandId();
  optimistic?.view.begin(commandId, optimistic.apply);
  try {
    const request = {
      query: document.text,
      variables: { ...variables, commandId },
      operationName: document.operationName,
    };
    const data = (await requestUntil(http, request, { ...limits, commandId })) as SentData['data'];
    const outcome = data[document.root];
    optimistic?.view.end(commandId, endOf(outcome));
    return { commandId, outcome, data };
  } catch (error) {
    optimistic?.view.end(commandId, { kind: 'nothing' });
    throw unknownOutcome(error, commandId);
  }
}

/** What the receipt says of the effect. Where it does not say `version` or `id`, only a change that names the command will. */
function endOf(outcome: unknown): CommandEnd {
  if (typeof outcome !== 'object' || outcome === null) return { kind: 'queued' };
  const kind = '__typename' in outcome ? outcome.__typename : undefined;
  if (kind !== undefined && kind !== 'CommandAccepted' && kind !== 'CommandQueued') return { kind: 'nothing' };
  if ('version' in outcome && outcome.version === null) return { kind: 'nothing' };
  if (!('version' in outcome && 'id' in outcome)) return { kind: 'queued' };
  const { id, version } = outcome;
  return typeof id === 'string' && typeof version === 'number' ? { kind: 'accepted', id, version } : { kind: 'queued' };
}

function unknownOutcome(error: unknown, commandId: string): unknown {
  if (!(error instanceof MillraceClientError) || error.code !== 'NETWORK') return error;
  return new MillraceClientError(
    'OUTCOME_UNKNOWN',
    `Whether the command ${commandId} was carried out is not known: ${error.message} Send it again with this commandId.`,
    { retryable: true, commandId, cause: error },
  );
}
