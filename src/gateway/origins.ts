import type { IncomingMessage } from 'node:http';

const loopback: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Judges where a browser says that a request comes from. A request without an Origin is no browser's cross-site one. */
export type OriginCheck = (request: IncomingMessage) => 'none' | 'own' | 'allowed' | 'refused';

/**
 * Allowed are the listed origins and the gateway's own, which is the one that the Host header names. A gateway that
 * listens on loopback takes only loopback names for its own: else a page could rebind its name to this machine.
 */
export function originCheck(allowedOrigins: readonly string[], host: string): OriginCheck {
  const listed = new Set(allowedOrigins);
  const local = loopback.has(host) || host === '::1' || host.startsWith('127.');
  return ({ headers: { origin, host: named } }) => {
    if (origin === undefined) return 'none';
    if (listed.has(origin)) return 'allowed';
    const url = URL.canParse(origin) ? new URL(origin) : undefined;
    if (url === undefined || named === undefined || url.host !== named.toLowerCase()) return 'refused';
    return !local || loopback.has(url.hostname) ? 'own' : 'refused';
  };
}
