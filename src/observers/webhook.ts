import { Webhook } from 'standardwebhooks';
import type { Contract } from '../define/aggregate.ts';
import type { ConsumerOptions, EventsFrom } from '../define/consumer-spec.ts';
import type { AnyRecorded, Recorded } from '../define/event.ts';
import {
  type ObserveContext,
  type Observer,
  type ObserverOptions,
  type ObserverSpec,
  observer,
} from '../define/observer.ts';
import { invalid } from '../define/refuse.ts';
import { NonRetryableError, RetryAfterError } from '../errors.ts';
import { CLOUD_EVENT_CONTENT_TYPE, cloudEvent } from './cloud-event.ts';
import { type PostAnswer, postOnce, whyNoAnswer } from './http-post.ts';

export interface WebhookSpec<A extends readonly Contract[]> extends ConsumerOptions, ObserverOptions {
  readonly name: string;
  /** Default 1. A higher one is a new consumer. */
  readonly version?: number;
  readonly description?: string;
  readonly from: A;
  /** Which events are sent; default: all of `from`. */
  readonly events?: readonly EventsFrom<A>['type'][];
  /** What is kept in order; default: the id of the event's aggregate. */
  readonly key?: (event: Recorded<EventsFrom<A>>) => string;
  /** Where to; `http:` or `https:`. Redirects are not followed. */
  readonly url: string;
  /** `whsec_` and 24 to 64 bytes in base64. Several while one replaces another: each message is signed with all of them. */
  readonly secret: string | readonly string[];
  /** CloudEvents `source`, a URI reference; default `/<tenant>/<aggregate>`. */
  readonly source?: string;
  /** CloudEvents `data`; default: the event's data. Leave out what the other side must not know. */
  readonly data?: (event: Recorded<EventsFrom<A>>) => unknown;
  /** More headers, e.g. `authorization`. */
  readonly headers?: Readonly<Record<string, string>>;
}

const SECRET_MIN_BYTES = 24;
const SECRET_MAX_BYTES = 64;
const SHOWN_MAX_LENGTH = 200;
const OK_MIN = 200;
const OK_MAX = 299;
const GONE = 410;
const TOO_MANY = 429;
const UNAVAILABLE = 503;

/**
 * Declares an observer that sends events to a URL: CloudEvents 1.0 as structured JSON, signed by Standard Webhooks
 * (https://www.standardwebhooks.com; `webhook-id` is the idempotency key, the same for every try). 2xx: delivered. 410: dead at once.
 * 429 and 503: `Retry-After` is honoured. Anything else, no answer and redirects are tried again as `attempts` and `backoff` say.
 * Throws DEFINITION_INVALID.
 */
export function webhook<const A extends readonly Contract[]>(spec: WebhookSpec<A>): Observer<A> {
  const { events, url, secret, source, data, headers, ...rest } = spec;
  const place = `webhook "${String(spec.name)}"`;
  const target = checkUrl(url, place);
  const signers = (Array.isArray(secret) ? secret : [secret]).map((one) => signerOf(one, place));
  if (signers.length === 0) throw invalid(place, '`secret` is empty. Give it at least one secret.');
  checkHeaders(headers, place);
  const send = async (event: AnyRecorded, { idempotencyKey, signal }: ObserveContext): Promise<void> => {
    const payload = data === undefined ? event.data : data(event as Recorded<EventsFrom<A>>);
    const body = JSON.stringify(cloudEvent(event, { source, data: payload }));
    const sentAt = new Date();
    const answer = await postOnce({
      url: target,
      body,
      signal,
      headers: {
        ...headers,
        'content-type': CLOUD_EVENT_CONTENT_TYPE,
        'webhook-id': idempotencyKey,
        'webhook-timestamp': String(Math.floor(sentAt.getTime() / 1_000)),
        'webhook-signature': signers.map((signer) => signer.sign(idempotencyKey, sentAt, body)).join(' '),
      },
    }).catch((error: unknown) => {
      throw new Error(`${originOf(target)} gave no answer: ${whyNoAnswer(error)}`, { cause: error });
    });
    refuse(answer, target);
  };
  const types = events ?? rest.from.flatMap((one) => Object.keys(one?.events ?? {}));
  const on: object = Object.fromEntries(types.map((type) => [type, send]));
  return observer<A>({ ...rest, on: on as ObserverSpec<A>['on'] });
}

/** Throws unless the other side has taken it. */
function refuse({ status, retryAfterMs, text }: PostAnswer, url: string): void {
  if (status >= OK_MIN && status <= OK_MAX) return;
  const said = text.trim() === '' ? '' : `: ${text.trim().slice(0, SHOWN_MAX_LENGTH)}`;
  const problem = `${originOf(url)} answered ${status}${said}`;
  if (status === GONE) throw new NonRetryableError(`${problem}. The receiver is gone: remove this webhook.`);
  if ((status === TOO_MANY || status === UNAVAILABLE) && retryAfterMs !== undefined) {
    throw new RetryAfterError(problem, retryAfterMs);
  }
  const redirect = status >= 300 && status < 400 ? '. Redirects are not followed: declare the final URL.' : '';
  throw new Error(`${problem}${redirect}`);
}

/** Paths may hold secrets. */
const originOf = (url: string): string => new URL(url).origin;

function checkUrl(url: unknown, place: string): string {
  const parsed = typeof url === 'string' && URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) {
    throw invalid(place, '`url` is no http or https URL. Is its environment variable set?');
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw invalid(place, '`url` holds a user or password. Send them in `headers` (authorization).');
  }
  return parsed.href;
}

function signerOf(secret: unknown, place: string): Webhook {
  const cure = `Use "whsec_" and ${SECRET_MIN_BYTES} to ${SECRET_MAX_BYTES} random bytes in base64.`;
  if (typeof secret !== 'string') throw invalid(place, `a \`secret\` is ${typeof secret}. ${cure}`);
  const bytes = Buffer.from(secret.replace(/^whsec_/, ''), 'base64').length;
  if (bytes < SECRET_MIN_BYTES || bytes > SECRET_MAX_BYTES)
    throw invalid(place, `a \`secret\` has ${bytes} bytes. ${cure}`);
  try {
    return new Webhook(secret);
  } catch {
    throw invalid(place, `a \`secret\` is no base64. ${cure}`);
  }
}

function checkHeaders(headers: Readonly<Record<string, string>> | undefined, place: string): void {
  try {
    new Headers({ ...headers });
  } catch {
    throw invalid(place, '`headers` holds a name or value that HTTP does not allow.');
  }
}
