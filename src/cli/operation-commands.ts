import { setTimeout as pause } from 'node:timers/promises';
import { MillraceError } from '../errors.ts';
import { askGateway, gatewayUrl } from './ask-gateway.ts';
import { ago, count, short, table } from './table.ts';

export interface GatewayOptions {
  readonly url?: string | undefined;
  readonly json?: boolean | undefined;
}

interface ShownOperation {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly ratePerSecond: number;
  readonly totalCount: number;
  readonly doneCount: number;
  readonly reason: string;
  readonly error: string | null;
  readonly startedAt: string;
  readonly finishedAt: string | null;
}

export const OPERATION =
  'id kind state filter ratePerSecond totalCount doneCount reason actor error startedAt finishedAt';
const POLL_MS = 200;

/** `millrace operations`: 0. */
export async function listOperations(options: GatewayOptions & { readonly limit: string }): Promise<number> {
  const query = `query($first: Int) { operations(first: $first) { edges { node { ${OPERATION} } } } }`;
  const answer = await askGateway(gatewayUrl(options.url), query, { first: limitOf(options.limit) });
  const found = nodesOf<ShownOperation>(answer.operations);
  const rows = found.map((one) => [one.id, ...summary(one), ago(one.startedAt), short(one.reason, 60)]);
  return print(options, found, table(['OPERATION', 'WHAT', 'STATE', 'DONE', 'OF', 'BEGUN', 'REASON'], rows));
}

/** `millrace operations follow`: 0 when it is done, 1 when it was stopped or failed. */
export async function followOperation(id: string, options: GatewayOptions): Promise<number> {
  const url = gatewayUrl(options.url);
  const terminal = process.stderr.isTTY === true;
  for (;;) {
    const query = `query($id: ID!) { operation(id: $id) { ${OPERATION} } }`;
    const found = (await askGateway(url, query, { id })).operation as ShownOperation | null;
    if (found === null) throw new MillraceError('UNKNOWN_OPERATION', `There is no operation "${id}".`);
    if (found.state !== 'RUNNING') {
      if (terminal) process.stderr.write('\r\u001b[K');
      print(options, found, `${sentence(found)}\n`);
      return found.state === 'DONE' ? 0 : 1;
    }
    if (terminal) process.stderr.write(`\r\u001b[K${count(found.doneCount)} of ${count(found.totalCount)}`);
    await pause(POLL_MS);
  }
}

/** `millrace operations stop`: 0. */
export async function stopOperation(
  id: string,
  options: GatewayOptions & { readonly reason: string },
): Promise<number> {
  const query = `mutation($id: ID!, $reason: String!) { stopOperation(id: $id, reason: $reason) { ${OPERATION} } }`;
  const { stopOperation: stopped } = await askGateway(gatewayUrl(options.url), query, { id, reason: options.reason });
  return print(options, stopped, `${sentence(stopped as ShownOperation)}\n`);
}

const whats = new Map([
  ['RETRY_DEAD_LETTERS', 'retry'],
  ['SKIP_DEAD_LETTERS', 'skip'],
]);
const summary = ({ kind, state, doneCount, totalCount }: ShownOperation): readonly string[] => [
  whats.get(kind) ?? kind,
  state.toLowerCase(),
  count(doneCount),
  count(totalCount),
];

export function sentence({ id, kind, state, doneCount, totalCount, error }: ShownOperation): string {
  const what = kind === 'SKIP_DEAD_LETTERS' ? 'skipped' : 'released to be tried again';
  const said = `${count(doneCount)} of ${count(totalCount)} dead letters ${what}; operation ${id} is ${state.toLowerCase()}.`;
  return error === null ? said : `${said}\n${error}`;
}

/** What a connection holds. */
export function nodesOf<T>(connection: unknown): readonly T[] {
  const { edges } = connection as { readonly edges: readonly { readonly node: T }[] };
  return edges.map(({ node }) => node);
}

/** JSON for scripts, text for people. */
export function print({ json }: GatewayOptions, value: unknown, text: string): number {
  process.stdout.write(json === true ? `${JSON.stringify(value, null, 2)}\n` : text);
  return 0;
}

export function limitOf(text: string): number {
  const limit = Number(text);
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= 1_000) return limit;
  throw new MillraceError('SETTINGS_INVALID', `--limit is "${text}". Use a whole number from 1 to 1,000.`);
}
