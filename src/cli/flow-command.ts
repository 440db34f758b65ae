import { setTimeout as pause } from 'node:timers/promises';
import { MillraceError } from '../errors.ts';
import { askGateway, gatewayUrl } from './ask-gateway.ts';
import { flowTree, type ShownFlow } from './flow-tree.ts';

const QUERY = `query($id: ID!) { flow(correlationId: $id) {
  correlationId settled truncated
  steps { id parentId kind name subject status attempts startedAt durationMs error { code message } event { position type } }
} }`;
const POLL_MS = 250;
const WAIT_MAX_S = 86_400;

/**
 * `millrace flow <correlationId>`: what it set in motion, as a tree. 0; 1 when nothing is known of it, or with `wait` when it is
 * not settled in that time.
 */
export async function flow(
  correlationId: string,
  options: {
    readonly url?: string | undefined;
    readonly wait?: string | undefined;
    readonly json?: boolean | undefined;
  },
): Promise<number> {
  const deadline = Date.now() + waitMs(options.wait);
  const url = gatewayUrl(options.url);
  const terminal = process.stderr.isTTY === true;
  let found = await ask(url, correlationId);
  while (options.wait !== undefined && found?.settled !== true && Date.now() < deadline) {
    if (terminal) process.stderr.write(`\r${found?.steps.length ?? 0} steps, not settled yet`);
    await pause(POLL_MS);
    found = await ask(url, correlationId);
  }
  if (terminal && options.wait !== undefined) process.stderr.write('\r\u001b[K');
  if (found === undefined) {
    process.stderr.write(
      `Nothing is known of "${correlationId}". A flow is named by the correlationId of the receipt, which is also on every event.\n`,
    );
    return 1;
  }
  const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
  process.stdout.write(options.json === true ? `${JSON.stringify(found, null, 2)}\n` : flowTree(found, { colour }));
  return options.wait === undefined || found.settled ? 0 : 1;
}

/** The answer has the form that the query asks for. */
const ask = async (url: string, id: string): Promise<ShownFlow | undefined> =>
  ((await askGateway(url, QUERY, { id })).flow as ShownFlow | null) ?? undefined;

function waitMs(text: string | undefined): number {
  const seconds = Number(text ?? 0);
  if (seconds >= 0 && seconds <= WAIT_MAX_S) return seconds * 1_000;
  throw new MillraceError('SETTINGS_INVALID', `--wait is "${text}". Use a number of seconds from 0 to ${WAIT_MAX_S}.`);
}
