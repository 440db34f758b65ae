import type { IncomingMessage } from 'node:http';
import { isIPv4 } from 'node:net';
import type { Refusal } from './answers.ts';

/**
 * Judges where a browser says that a request comes from, and by which name it calls the gateway. A request without an
 * Origin is no browser's cross-site one.
 */
export type OriginCheck = (request: IncomingMessage) => 'none' | 'own' | 'allowed' | Refusal;

/**
 * Allowed are the listed origins and the gateway's own, which is the one that the Host header names. A gateway that
 * listens on loopback answers only to loopback names and those of listed origins: a page can rebind its own name to
 * this machine, and then reads with GETs that carry no Origin.
 */
export function originCheck(allowedOrigins: readonly string[], host: string): OriginCheck {
  const listed = new Set(allowedOrigins);
  const names = new Set(allowedOrigins.map((origin) => urlOf(origin)?.hostname));
  const local = isLoopback(host) || host === '::1';
  return ({ headers: { origin, host: named } }) => {
    const asked = named === undefined ? undefined : urlOf(`http://${named}`);
    if (named !== undefined && asked === undefined) return badHost;
    if (local && asked !== undefined && !isLoopback(asked.hostname) && !names.has(asked.hostname)) return foreignHost;
    if (origin === undefined) return 'none';
    if (listed.has(origin)) return 'allowed';
    const url = urlOf(origin);
    if (url === undefined || named === undefined || url.host !== named.toLowerCase()) return foreignOrigin;
    return !local || isLoopback(url.hostname) ? 'own' : foreignOrigin;
  };
}

const urlOf = (text: string): URL | undefined => (URL.canParse(text) ? new URL(text) : undefined);

const isLoopback = (name: string): boolean =>
  name === 'localhost' || name === '[::1]' || (name.startsWith('127.') && isIPv4(name));

const badHost: Refusal = { status: 400, code: 'BAD_REQUEST', message: 'The Host header is no name of a host.' };
const foreignHost: Refusal = {
  status: 403,
  code: 'HOST_NOT_ALLOWED',
  message:
    'This gateway listens on loopback and does not answer to the name in the Host header. Add an origin of that name to ALLOWED_ORIGINS, or set HOST to an address that is not loopback.',
};
const foreignOrigin: Refusal = {
  status: 403,
  code: 'ORIGIN_NOT_ALLOWED',
  message: 'This origin may not call the gateway. Add it to ALLOWED_ORIGINS if it should.',
};
