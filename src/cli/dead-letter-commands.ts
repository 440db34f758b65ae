import { MillraceError } from '../errors.ts';
import { askGateway, gatewayUrl } from './ask-gateway.ts';
import { followOperation, type GatewayOptions, limitOf, nodesOf, OPERATION, print } from './operation-commands.ts';
import { ago, count, short, table } from './table.ts';

export interface FilterOptions extends GatewayOptions {
  readonly consumer?: string | undefined;
  readonly key?: string | undefined;
  readonly state?: string | undefined;
  readonly group?: string | undefined;
  readonly eventType?: string | undefined;
  readonly correlation?: string | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}
interface ActOptions extends FilterOptions {
  readonly reason: string;
  readonly all?: boolean | undefined;
  readonly rate?: string | undefined;
  readonly position?: string | undefined;
  readonly detach?: boolean | undefined;
}

interface ShownLetter {
  readonly id: string;
  readonly consumer: string;
  readonly key: string;
  readonly state: string;
  readonly inputType: string;
  readonly position: string;
  readonly attempts: number;
  readonly maxAttempts: number | null;
  readonly parkedCount: number;
  readonly firstFailedAt: string;
  readonly nextAttemptAt: string | null;
  readonly error: {
    readonly code: string;
    readonly type: string;
    readonly message: string;
    readonly stack: string | null;
  };
  readonly event?: { readonly data: unknown; readonly schemaVersion: number } | null;
  readonly correlationId: string | null;
  readonly parkedEvents?: unknown;
}
interface ShownGroup {
  readonly fingerprint: string;
  readonly count: number;
  readonly retryingCount: number;
  readonly deadCount: number;
  readonly parkedCount: number;
  readonly consumers: readonly string[];
  readonly oldest: string;
  readonly newest: string;
  readonly sample: ShownLetter;
}

const LETTER = `id consumer consumerKind key state inputType position attempts maxAttempts parkedCount correlationId
  firstFailedAt lastFailedAt nextAttemptAt error { code type message stack fingerprint }`;

/** `millrace dead-letters`: 0. */
export async function listDeadLetters(options: FilterOptions & { readonly limit: string }): Promise<number> {
  const query = `query($filter: DeadLetterFilter, $first: Int) {
    deadLetters(filter: $filter, first: $first) { edges { node { ${LETTER} } } pageInfo { hasNextPage } } }`;
  const first = limitOf(options.limit);
  const answer = await askGateway(gatewayUrl(options.url), query, { filter: filterOf(options), first });
  const found = nodesOf<ShownLetter>(answer.deadLetters);
  if (found.length === 0 && options.json !== true) return print(options, found, 'No dead letters.\n');
  const rows = found.map((one) => [
    one.id,
    one.consumer,
    short(one.key, 40),
    one.state.toLowerCase(),
    one.inputType,
    one.position,
    String(one.attempts),
    count(one.parkedCount),
    ago(one.firstFailedAt),
    short(`${one.error.type}: ${one.error.message}`, 80),
  ]);
  const headings = [
    'DEAD LETTER',
    'CONSUMER',
    'KEY',
    'STATE',
    'EVENT',
    'POSITION',
    'TRIES',
    'WAITING',
    'SINCE',
    'ERROR',
  ];
  const { hasNextPage } = (answer.deadLetters as { readonly pageInfo: { readonly hasNextPage: boolean } }).pageInfo;
  return print(options, found, `${table(headings, rows)}${hasNextPage ? 'There are more: see --limit.\n' : ''}`);
}

/** `millrace dead-letters groups`: 0. */
export async function listGroups(options: FilterOptions): Promise<number> {
  const query = `query($filter: DeadLetterFilter) { deadLetterGroups(filter: $filter) {
    fingerprint count retryingCount deadCount keyCount parkedCount consumers oldest newest sample { ${LETTER} } } }`;
  const answer = await askGateway(gatewayUrl(options.url), query, { filter: filterOf(options) });
  const found = answer.deadLetterGroups as readonly ShownGroup[];
  if (found.length === 0 && options.json !== true) return print(options, found, 'No dead letters.\n');
  const rows = found.map((one) => [
    one.fingerprint,
    count(one.count),
    count(one.deadCount),
    count(one.parkedCount),
    one.consumers.join(', '),
    ago(one.oldest),
    ago(one.newest),
    short(`${one.sample.error.type}: ${one.sample.error.message}`, 80),
  ]);
  const headings = ['GROUP', 'KEYS', 'DEAD', 'WAITING', 'CONSUMERS', 'OLDEST', 'NEWEST', 'ERROR'];
  return print(options, found, table(headings, rows));
}

/** `millrace dead-letters show`: 0; 1 when there is none. */
export async function showDeadLetter(id: string, options: GatewayOptions): Promise<number> {
  const query = `query($id: ID!) { deadLetter(id: $id) { ${LETTER} event { type schemaVersion data at commandId }
    parkedEvents(first: 20) { edges { node { position event { type } } } } } }`;
  const { deadLetter } = await askGateway(gatewayUrl(options.url), query, { id });
  const found = deadLetter as ShownLetter | null;
  if (found === null) {
    process.stderr.write(`There is no dead letter "${id}": it was healed or skipped, or never was.\n`);
    return 1;
  }
  return print(options, found, page(found));
}

/** `millrace dead-letters preview`: 0; 1 when the dry run of one would fail. */
export async function previewRetry(id: string | undefined, options: FilterOptions): Promise<number> {
  const query = `query($filter: DeadLetterFilter!) { previewRetry(filter: $filter) { keyCount eventCount oldest
    consumers { name keyCount eventCount } dryRun { result reason error { code type message stack } } } }`;
  const answer = await askGateway(gatewayUrl(options.url), query, { filter: filterOf(options, id) });
  const preview = answer.previewRetry as ShownPreview;
  const lines = [
    `${count(preview.keyCount)} keys with ${count(preview.eventCount)} events would be tried again.`,
    ...(preview.oldest === null ? [] : [`The oldest failed ${ago(preview.oldest)} ago.`]),
    ...preview.consumers.map((one) => `  ${one.name}: ${count(one.keyCount)} keys, ${count(one.eventCount)} events`),
    ...dryRunLines(preview.dryRun),
  ];
  print(options, preview, `${lines.join('\n')}\n`);
  return preview.dryRun?.result === 'WOULD_FAIL' ? 1 : 0;
}

interface ShownPreview {
  readonly keyCount: number;
  readonly eventCount: number;
  readonly oldest: string | null;
  readonly consumers: readonly { readonly name: string; readonly keyCount: number; readonly eventCount: number }[];
  readonly dryRun: {
    readonly result: string;
    readonly reason: string | null;
    readonly error: ShownLetter['error'] | null;
  } | null;
}

function dryRunLines(dryRun: ShownPreview['dryRun']): readonly string[] {
  if (dryRun === null) return [];
  if (dryRun.result === 'WOULD_SUCCEED') return ['Dry run: its handler would succeed now.'];
  if (dryRun.error === null) return [`Dry run: not tried. ${dryRun.reason ?? ''}`];
  return [`Dry run: its handler would fail: ${short(`${dryRun.error.type}: ${dryRun.error.message}`, 500)}`];
}

/** `millrace dead-letters retry` and `skip`: 0 when it is done; 1 when it was refused or stopped. */
export async function actOn(what: 'retry' | 'skip', id: string | undefined, options: ActOptions): Promise<number> {
  const url = gatewayUrl(options.url);
  const { reason } = options;
  if (what === 'skip' && id !== undefined) return skipOne(url, id, options);
  const filter = filterOf(options, id);
  if (Object.keys(filter).length === 0 && options.all !== true) {
    throw new MillraceError(
      'SETTINGS_INVALID',
      `Say which: an id, a filter such as --group, or --all. Nothing was done.`,
    );
  }
  const field = what === 'retry' ? 'retryDeadLetters' : 'skipDeadLetters';
  const query = `mutation($filter: DeadLetterFilter!, $rate: Float, $reason: String!) {
    ${field}(filter: $filter, ratePerSecond: $rate, reason: $reason) { ${OPERATION} } }`;
  const rate = options.rate === undefined ? null : Number(options.rate);
  if (rate !== null && !Number.isFinite(rate)) {
    throw new MillraceError('SETTINGS_INVALID', `--rate is "${options.rate}". Use a number of keys a second.`);
  }
  const answer = await askGateway(url, query, { filter, rate, reason });
  const operation = answer[field] as { readonly id: string };
  if (options.detach === true) {
    return print(
      options,
      operation,
      `Operation ${operation.id} has begun: millrace operations follow ${operation.id}\n`,
    );
  }
  return followOperation(operation.id, options);
}

async function skipOne(url: string, id: string, options: ActOptions): Promise<number> {
  const query = `mutation($id: ID!, $position: String, $reason: String!) {
    skipDeadLetter(id: $id, position: $position, reason: $reason) { ${LETTER} } }`;
  const { position = null, reason } = options;
  const { skipDeadLetter } = await askGateway(url, query, { id, position, reason });
  const left = skipDeadLetter as ShownLetter | null;
  const text =
    left === null
      ? 'Skipped; its key flows again.\n'
      : `Skipped; next is ${left.inputType} at position ${left.position} (${left.state.toLowerCase()}), ${count(left.parkedCount)} wait behind it.\n`;
  return print(options, left, text);
}

function filterOf(options: FilterOptions, id?: string): Readonly<Record<string, unknown>> {
  const { consumer, key, group, eventType, correlation, since, until } = options;
  const state = options.state?.toUpperCase();
  if (state !== undefined && state !== 'RETRYING' && state !== 'DEAD') {
    throw new MillraceError('SETTINGS_INVALID', `--state is "${options.state}". Use retrying or dead.`);
  }
  const filter = {
    ...{ consumer, key, state, fingerprint: group, eventType, correlationId: correlation, since, until },
    ids: id === undefined ? undefined : [id],
  };
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined));
}

function page(one: ShownLetter): string {
  const parked = nodesOf<{ readonly position: string; readonly event: { readonly type: string } | null }>(
    one.parkedEvents,
  );
  const next = one.nextAttemptAt === null ? 'none by itself: retry or skip it' : one.nextAttemptAt;
  return `${[
    `Dead letter   ${one.id}`,
    `Consumer      ${one.consumer}, key ${JSON.stringify(one.key)}`,
    `Event         ${one.inputType} at position ${one.position}`,
    ...(one.event == null
      ? []
      : [`Data          ${JSON.stringify(one.event.data)} (schema version ${one.event.schemaVersion})`]),
    `Correlation   ${one.correlationId ?? 'none'}`,
    `State         ${one.state.toLowerCase()}, ${one.attempts} tries of ${one.maxAttempts ?? 'no end'}, since ${one.firstFailedAt}`,
    `Next try      ${next}`,
    `Error         ${one.error.code}`,
    ...(one.error.stack ?? `${one.error.type}: ${one.error.message}`)
      .split('\n')
      .map((line) => `  ${short(line, 200)}`),
    `Waiting       ${count(one.parkedCount)} events`,
    ...parked.map(({ position, event }) => `  ${position}  ${event?.type ?? ''}`),
  ].join('\n')}\n`;
}
