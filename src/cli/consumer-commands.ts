import { createInterface } from 'node:readline/promises';
import { MillraceError } from '../errors.ts';
import { askGateway, gatewayUrl } from './ask-gateway.ts';
import { type GatewayOptions, print } from './operation-commands.ts';
import { generationNumber } from './rebuild-commands.ts';
import { ago, count, duration, short, table } from './table.ts';

interface ShownConsumer {
  readonly name: string;
  readonly kind: string;
  readonly mode: string | null;
  readonly generation: number;
  readonly state: string;
  readonly paused: { readonly since: string; readonly reason: string } | null;
  readonly position: string;
  readonly logEnd: string;
  readonly lag: number;
  readonly lagSeconds: number;
  readonly caughtUp: boolean;
  readonly retryingCount: number;
  readonly deadCount: number;
  readonly parkedCount: number;
  readonly failingSince: string | null;
  readonly failures: readonly { readonly message: string }[];
}
interface ShownReset {
  readonly position: string;
  readonly effects: readonly string[];
}

const CONSUMER = `name kind mode version generation state paused { since reason actor } position logEnd lag lagSeconds caughtUp
  retryingCount deadCount parkedCount failingSince failures { partition position eventType code message attempts since }`;
const RESET = 'position logEnd eventCount skippedCount documentCount deadLetterCount effects';

/** `millrace consumers`: 0. */
export async function listConsumers(options: GatewayOptions & { readonly unused?: boolean }): Promise<number> {
  const query = `query($unused: Boolean) { consumers(unused: $unused) { ${CONSUMER} } }`;
  const answer = await askGateway(gatewayUrl(options.url), query, { unused: options.unused === true });
  const found = answer.consumers as readonly ShownConsumer[];
  const rows = found.map((one) => [
    one.name,
    // Async is how most are kept: only the other mode is worth a word.
    one.mode === 'INLINE' ? 'inline projector' : one.kind.toLowerCase(),
    String(one.generation),
    one.state.toLowerCase(),
    one.position,
    one.caughtUp ? '0' : count(one.lag),
    one.caughtUp ? '' : duration(one.lagSeconds),
    count(one.retryingCount),
    count(one.deadCount),
    count(one.parkedCount),
    trouble(one),
  ]);
  const headings = ['CONSUMER', 'KIND', 'GEN', 'STATE', 'POSITION', 'LAG', 'BEHIND', 'RETRYING', 'DEAD', 'WAITING', ''];
  return print(options, found, table(headings, rows));
}

function trouble({ paused, failures, failingSince }: ShownConsumer): string {
  const [failure] = failures;
  if (paused !== null) return `paused ${ago(paused.since)} ago: ${short(paused.reason, 60)}`;
  if (failure !== undefined) return `stands still: ${short(failure.message, 60)}`;
  return failingSince === null ? '' : `failing since ${ago(failingSince)}`;
}

/** `millrace consumers pause`: 0. */
export const pauseConsumer = (name: string, options: GatewayOptions & { readonly reason: string }): Promise<number> =>
  control('pauseConsumer', name, options);

/** `millrace consumers resume`: 0. */
export const resumeConsumer = (name: string, options: GatewayOptions & { readonly reason: string }): Promise<number> =>
  control('resumeConsumer', name, options);

async function control(
  field: 'pauseConsumer' | 'resumeConsumer',
  name: string,
  options: GatewayOptions & { readonly reason: string },
): Promise<number> {
  const query = `mutation($name: String!, $reason: String!) { ${field}(name: $name, reason: $reason) { ${CONSUMER} } }`;
  const { reason, url } = options;
  const found = (await askGateway(gatewayUrl(url), query, { name, reason }))[field] as ShownConsumer;
  const place = `at position ${found.position} of ${found.logEnd}`;
  return print(options, found, `${found.name} is ${found.state.toLowerCase()} ${place}.\n`);
}

interface ResetOptions extends GatewayOptions {
  readonly to: string;
  readonly reason?: string | undefined;
  readonly dropInstances?: boolean | undefined;
  readonly repeatEffects?: boolean | undefined;
  readonly preview?: boolean | undefined;
  readonly yes?: boolean | undefined;
}

/** `millrace consumers reset`: 0 when it is done or only shown; 1 when it was not confirmed. */
export async function resetConsumer(name: string, options: ResetOptions): Promise<number> {
  const url = gatewayUrl(options.url);
  const given = {
    name,
    to: placeOf(options.to),
    drop: options.dropInstances === true,
    repeat: options.repeatEffects === true,
  };
  const args = 'name: $name, to: $to, dropInstances: $drop, repeatEffects: $repeat';
  const types = '$name: String!, $to: ConsumerStart!, $drop: Boolean, $repeat: Boolean';
  const preview = (await askGateway(url, `query(${types}) { previewReset(${args}) { ${RESET} } }`, given))
    .previewReset as ShownReset;
  if (options.preview === true) return print(options, preview, `${preview.effects.join('\n')}\n`);
  if (options.reason === undefined) throw new MillraceError('REASON_MISSING', 'Say why with --reason.');
  process.stderr.write(`${preview.effects.join('\n')}\n`);
  if (!(await confirmed(name, options))) return 1;
  const query = `mutation(${types}, $reason: String!) { resetConsumer(${args}, reason: $reason) { ${RESET} } }`;
  const done = (await askGateway(url, query, { ...given, reason: options.reason })).resetConsumer as ShownReset;
  return print(
    options,
    done,
    `${name} stands at position ${done.position}. It is paused: millrace consumers resume ${name} --reason …\n`,
  );
}

/** `millrace consumers retire`: 0 when it is done; 1 when it was not confirmed. */
export async function retireConsumer(
  name: string,
  generation: string,
  options: GatewayOptions & { readonly reason: string; readonly yes?: boolean },
): Promise<number> {
  const number = generationNumber(generation);
  process.stderr.write(`Removes progress, dead letters, timers and documents of ${name}, generation ${generation}.\n`);
  if (!(await confirmed(name, options))) return 1;
  const query = `mutation($name: String!, $generation: Int!, $reason: String!) {
    retireConsumer(name: $name, generation: $generation, reason: $reason) }`;
  await askGateway(gatewayUrl(options.url), query, { name, generation: number, reason: options.reason });
  return print(options, true, `${name}, generation ${generation}, is retired.\n`);
}

/** Whoever types the name means it. Without a terminal only --yes does. */
async function confirmed(name: string, { yes }: { readonly yes?: boolean | undefined }): Promise<boolean> {
  if (yes === true) return true;
  if (process.stdin.isTTY !== true) {
    process.stderr.write('Nothing was done: confirm with --yes.\n');
    return false;
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await lines.question(`Type "${name}" to go on: `);
  lines.close();
  if (answer.trim() === name) return true;
  process.stderr.write('Nothing was done.\n');
  return false;
}

function placeOf(to: string): Readonly<Record<string, unknown>> {
  if (to === 'start') return { start: true };
  if (to === 'now') return { now: true };
  return /^\d+$/.test(to) ? { position: to } : { time: to };
}
