import { MillraceError } from '../errors.ts';

/** A gateway that does not answer within this is not there. */
const ANSWER_MAX_MS = 30_000;

/** Where the gateway of this machine is, unless told otherwise. An address without a path means its /graphql. */
export function gatewayUrl(given: string | undefined): string {
  const url = given ?? process.env.MILLRACE_URL ?? `http://127.0.0.1:${process.env.PORT || '4000'}`;
  return URL.canParse(url) && new URL(url).pathname === '/' ? new URL('/graphql', url).href : url;
}

/** The `data` of one GraphQL operation. Throws GATEWAY_UNREACHABLE, and GATEWAY_REFUSED with what the gateway says. */
export async function askGateway(
  url: string,
  query: string,
  variables: Readonly<Record<string, unknown>>,
): Promise<Readonly<Record<string, unknown>>> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-client-name': 'millrace cli' },
      body: JSON.stringify({ query, variables }),
      signal: AbortSignal.timeout(ANSWER_MAX_MS),
    });
    text = await response.text();
  } catch (cause) {
    throw new MillraceError(
      'GATEWAY_UNREACHABLE',
      `No gateway answers at ${url}. Start one (millrace start), or name another with --url or MILLRACE_URL.`,
      { cause },
    );
  }
  const body = parsed(text);
  const [error] = Array.isArray(body?.errors) ? body.errors : [];
  if (isRecord(error)) {
    const code = isRecord(error.extensions) ? `${error.extensions.code}: ` : '';
    throw new MillraceError('GATEWAY_REFUSED', `${url} answers: ${code}${error.message}`);
  }
  if (isRecord(body?.data)) return body.data;
  throw new MillraceError(
    'GATEWAY_REFUSED',
    `${url} answers with HTTP ${response.status} and no GraphQL. Is it the address of /graphql?`,
  );
}

function parsed(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
