import type { IncomingMessage } from 'node:http';
import type { GraphQLError } from 'graphql';
import { coded } from './client-errors.ts';

/**
 * Whom a gateway counts sockets and subscriptions by. There are no identities yet, so it is the address that the connection
 * comes from; behind a proxy that is the proxy's.
 */
export const principalOf = (request: IncomingMessage): string => request.socket.remoteAddress ?? 'unknown';

/** How many of a kind each client has. */
export interface ClientMeter {
  readonly maxCount: number;
  /** Counts one more and gives the way to count it off, once; undefined when the client has as many as it may. */
  take(principal: string): (() => void) | undefined;
}

export function clientMeter(maxCount: number): ClientMeter {
  const counts = new Map<string, number>();
  return {
    maxCount,
    take(principal) {
      const count = counts.get(principal) ?? 0;
      if (count >= maxCount) return undefined;
      counts.set(principal, count + 1);
      let taken = true;
      return () => {
        if (!taken) return;
        taken = false;
        const left = (counts.get(principal) ?? 0) - 1;
        if (left > 0) counts.set(principal, left);
        else counts.delete(principal);
      };
    },
  };
}

export const tooManySubscriptions = (maxCount: number): GraphQLError =>
  coded('TOO_MANY_SUBSCRIPTIONS', `A client holds ${maxCount} subscriptions at most (SUBSCRIPTIONS_PER_CLIENT_MAX).`);
