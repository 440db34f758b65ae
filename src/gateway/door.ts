import { isUtf8 } from 'node:buffer';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Refusal, refuse } from './answers.ts';
import { limits } from './limits.ts';
import type { OriginCheck } from './origins.ts';

/** A request whose body was read and parsed here; Yoga takes it as it is. */
export type ReadRequest = IncomingMessage & { body?: unknown };

/**
 * One of these on a GET says that no plain link, image or form of another site made it: browsers ask first before they
 * send them.
 */
const csrfHeaders = ['x-graphql-yoga-csrf', 'graphql-require-preflight', 'x-requested-with', 'x-correlation-id'];

/**
 * The HTTP door of /graphql: everything that can be judged without GraphQL is judged here, in this order, and refused
 * before a byte of it is parsed. What passes goes to `serve` with its body read.
 */
export function graphqlDoor(options: {
  readonly origins: OriginCheck;
  readonly graphiql: boolean;
  readonly serve: (request: ReadRequest, response: ServerResponse) => void;
}): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    // 1. Who asks
    const origin = options.origins(request);
    if (request.headers.origin !== undefined) response.setHeader('vary', 'Origin');
    if (typeof origin === 'object') return refuse(response, origin);
    if (origin === 'allowed') allowOrigin(request, response);
    // 2. How
    switch (request.method) {
      case 'OPTIONS':
        response.writeHead(204, { 'content-length': '0' });
        response.end();
        return;
      case 'GET':
        return serveGet(request, response, origin !== 'none', options);
      case 'POST':
        return servePost(request, response, options.serve);
      default:
        return refuse(response, {
          status: 405,
          code: 'METHOD_NOT_ALLOWED',
          message: `/graphql takes GET and POST, not ${request.method}.`,
          headers: { allow: 'GET, POST' },
        });
    }
  };
}

function serveGet(
  request: IncomingMessage,
  response: ServerResponse,
  originIsGood: boolean,
  { graphiql, serve }: { readonly graphiql: boolean; readonly serve: (r: ReadRequest, s: ServerResponse) => void },
): void {
  const html = request.headers.accept?.includes('text/html') === true;
  if (graphiql && html) {
    serve(request, response);
    return;
  }
  // An EventSource cannot send a header of its own; browsers say themselves that a page of ours is asking.
  const ours = originIsGood || request.headers['sec-fetch-site'] === 'same-origin';
  const asked = ours || csrfHeaders.some((name) => request.headers[name] !== undefined);
  if (!asked && request.headers['content-type']?.startsWith('application/json') !== true) {
    refuse(response, {
      status: 403,
      code: 'CSRF_HEADER_MISSING',
      message: `A GET needs one of these headers, with any value: ${csrfHeaders.join(', ')}. Or use POST with JSON.`,
    });
    return;
  }
  const url = request.url ?? '';
  const parameters = new URLSearchParams(url.includes('?') ? url.slice(url.indexOf('?') + 1) : '');
  for (const name of ['variables', 'extensions']) {
    const text = parameters.get(name);
    if (text !== null && text !== '' && !isJsonObject(text)) {
      refuse(response, badRequest(`"${name}" in the query string is no JSON object.`));
      return;
    }
  }
  serve(request, response);
}

function servePost(
  request: ReadRequest,
  response: ServerResponse,
  serve: (request: ReadRequest, response: ServerResponse) => void,
): void {
  const problem = headerProblem(request);
  if (problem !== undefined) {
    refuseBody(request, response, problem);
    return;
  }
  if (request.headers.expect !== undefined) response.writeContinue();
  const chunks: Buffer[] = [];
  let byteCount = 0;
  const take = (chunk: Buffer): void => {
    byteCount += chunk.byteLength;
    if (byteCount <= limits.bodyMaxBytes) {
      chunks.push(chunk);
      return;
    }
    request.off('data', take).off('end', finish);
    refuseBody(request, response, bodyTooLarge);
  };
  const finish = (): void => {
    const parsed = parseBody(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks));
    if ('refusal' in parsed) refuse(response, parsed.refusal);
    else {
      request.body = parsed.body;
      serve(request, response);
    }
  };
  // A client that leaves while it sends is nobody to answer.
  request
    .on('data', take)
    .on('end', finish)
    .on('error', () => undefined);
}

function headerProblem({ headers }: IncomingMessage): Refusal | undefined {
  const type = headers['content-type'] ?? '';
  if (!/^application\/json\s*(;\s*charset="?utf-8"?\s*)?$/i.test(type)) {
    return unsupported(
      'A POST needs the content type application/json in UTF-8; forms, files and plain text are not taken.',
    );
  }
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') return unsupported('A compressed body is not taken.');
  return Number(headers['content-length'] ?? 0) > limits.bodyMaxBytes ? bodyTooLarge : undefined;
}

function parseBody(bytes: Buffer): { readonly body: object } | { readonly refusal: Refusal } {
  if (!isUtf8(bytes)) return { refusal: badRequest('The body is not UTF-8.') };
  let body: unknown;
  try {
    body = JSON.parse(bytes.toString('utf8'));
  } catch {
    return { refusal: badRequest('The body is not JSON.') };
  }
  if (Array.isArray(body)) {
    return { refusal: badRequest('Batches are not taken. Send one operation a request, or use sendCommands.') };
  }
  if (typeof body !== 'object' || body === null || !Object.hasOwn(body, 'query')) {
    return { refusal: badRequest('The body must be a JSON object with "query".') };
  }
  return { body };
}

/** Refuses without reading the rest; what is under way is thrown away for a moment, so that the answer arrives. */
function refuseBody(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  refuse(response, { ...refusal, headers: { ...refusal.headers, connection: 'close' } });
  request.resume();
  const timer = setTimeout(() => request.destroy(), 1_000);
  request.once('close', () => clearTimeout(timer));
}

function allowOrigin({ headers, method }: IncomingMessage, response: ServerResponse): void {
  response.setHeader('access-control-allow-origin', headers.origin ?? '');
  response.setHeader('access-control-expose-headers', 'x-correlation-id');
  if (method !== 'OPTIONS') return;
  response.setHeader('access-control-allow-methods', 'GET, POST');
  response.setHeader(
    'access-control-allow-headers',
    [
      'content-type',
      'accept',
      'authorization',
      'last-event-id',
      'traceparent',
      'baggage',
      'x-client-name',
      ...csrfHeaders,
    ].join(', '),
  );
  response.setHeader('access-control-max-age', '600');
}

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && !Array.isArray(value);
  } catch {
    return false;
  }
}

const bodyTooLarge: Refusal = {
  status: 413,
  code: 'PAYLOAD_TOO_LARGE',
  message: `The body is larger than ${limits.bodyMaxBytes} bytes.`,
};
const badRequest = (message: string): Refusal => ({ status: 400, code: 'BAD_REQUEST', message });
const unsupported = (message: string): Refusal => ({ status: 415, code: 'UNSUPPORTED_MEDIA_TYPE', message });
