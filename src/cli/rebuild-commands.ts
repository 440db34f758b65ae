import { setTimeout as pause } from 'node:timers/promises';
import { MillraceError } from '../errors.ts';
import { askGateway, gatewayUrl } from './ask-gateway.ts';
import { type GatewayOptions, print } from './operation-commands.ts';
import { ago, count, duration, short, table } from './table.ts';

interface ShownRebuild {
  readonly projector: string;
  readonly view: string;
  readonly from: number;
  readonly to: number;
  readonly state: string;
  readonly held: { readonly since: string; readonly reason: string } | null;
  readonly percent: number;
  readonly position: string;
  readonly logEnd: string;
  readonly eventsPerSecond: number | null;
  readonly etaSeconds: number | null;
  readonly deadCount: number;
  readonly retryingCount: number;
  readonly parkedCount: number;
  readonly startedAt: string;
  readonly swappedAt: string | null;
  readonly waitsFor: readonly string[];
  readonly readerCount: number;
}
const REBUILD = `projector view from to state held { since reason actor } percent position logEnd eventsPerSecond etaSeconds
  retryingCount deadCount parkedCount startedAt swappedAt waitsFor runnerCount readerCount`;

interface ShownDiff {
  readonly from: number;
  readonly to: number;
  readonly logEnd: string;
  readonly oldPosition: string;
  readonly newPosition: string;
  readonly sameCount: number;
  readonly changedCount: number;
  readonly onlyOldCount: number;
  readonly onlyNewCount: number;
  readonly unsettledCount: number;
  readonly samples: readonly ShownSample[];
  readonly next: string | null;
  readonly totalCount: number;
}
interface ShownSample {
  readonly id: string;
  readonly kind: string;
  readonly fields: readonly { readonly name: string; readonly old: unknown; readonly new: unknown }[];
}

const POLL_MS = 1_000;
const SAMPLES_MAX_COUNT = 20;

const rebuildsOf = async (options: GatewayOptions): Promise<readonly ShownRebuild[]> =>
  (await askGateway(gatewayUrl(options.url), `{ rebuilds { ${REBUILD} } }`, {})).rebuilds as readonly ShownRebuild[];

/** `millrace rebuild list`: 0. */
export async function listRebuilds(options: GatewayOptions): Promise<number> {
  const found = await rebuildsOf(options);
  if (found.length === 0 && options.json !== true) return print(options, found, 'No rebuild is under way.\n');
  const rows = found.map((one) => [
    one.projector,
    `${one.from} → ${one.to}`,
    one.state.toLowerCase(),
    `${one.percent} %`,
    one.position,
    one.logEnd,
    one.eventsPerSecond === null ? '' : count(one.eventsPerSecond),
    one.etaSeconds === null ? '' : duration(one.etaSeconds),
    count(one.deadCount),
    count(one.parkedCount),
    remark(one),
  ]);
  const headings = ['PROJECTOR', 'GEN', 'STATE', 'DONE', 'POSITION', 'OF', 'EVENTS/S', 'LEFT', 'DEAD', 'WAITING', ''];
  return print(options, found, table(headings, rows));
}

function remark({ state, held, swappedAt, readerCount, projector, from, waitsFor }: ShownRebuild): string {
  if (held !== null) return `${ago(held.since)} ago: ${short(held.reason, 60)}`;
  if (state !== 'SWAPPED') return short(waitsFor.join('; '), 100);
  if (readerCount > 0) return `since ${ago(swappedAt)}; ${readerCount} processes still read generation ${from}`;
  return `since ${ago(swappedAt)}; when nobody needs ${from} any more: millrace consumers retire ${projector} ${from} --reason …`;
}

interface WatchOptions extends GatewayOptions {
  readonly generation?: string | undefined;
}

/**
 * `millrace rebuild watch`: 0 when it is swapped in, 1 when it was aborted, or waits for somebody to act. With a generation it waits
 * until a process with that code has begun it.
 */
export async function watchRebuild(projector: string, options: WatchOptions): Promise<number> {
  const wanted = options.generation === undefined ? undefined : generationNumber(options.generation);
  const terminal = process.stderr.isTTY === true;
  const tell = (line: string): void => {
    process.stderr.write(terminal ? `\r\u001b[K${line}` : `${line}\n`);
  };
  const end = (found: ShownRebuild | null, line: string, code: number): number => {
    if (terminal) process.stderr.write('\r\u001b[K');
    print(options, found, `${line}\n`);
    return code;
  };
  for (; ; await pause(POLL_MS)) {
    // Before the rebuilds: one that is level and none of those is read.
    const known = wanted === undefined ? [] : await generationsOf(projector, options);
    const all = (await rebuildsOf(options)).filter((one) => one.projector === projector);
    const found = wanted === undefined ? all.at(-1) : all.find(({ to }) => to === wanted);
    if (found !== undefined) {
      const waits = found.state === 'PAUSED' || found.deadCount > 0 || mustBeSwapped(found);
      if (found.state === 'SWAPPED' || found.state === 'ABORTED' || waits) {
        return end(found, sentence(found), found.state === 'SWAPPED' ? 0 : 1);
      }
      tell(sentence(found));
      continue;
    }
    if (wanted === undefined) return end(null, `No rebuild of ${projector} is under way.`, 1);
    const newest = Math.max(0, ...known.map(({ generation }) => generation), ...all.map(({ to }) => to));
    if (newest > wanted)
      return end(null, `${projector}: generation ${wanted} is not the newest, ${newest} is there.`, 1);
    const isRead = known.some(({ generation, caughtUp }) => generation === wanted && caughtUp);
    if (isRead) return end(null, `${projector}: generation ${wanted} is read, and no other is kept.`, 0);
    tell(`${projector}: no process has begun generation ${wanted} yet.`);
  }
}

export function generationNumber(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number)) return number;
  throw new MillraceError('SETTINGS_INVALID', `The generation is "${text}". millrace consumers --unused shows it.`);
}

type ShownGeneration = Readonly<{ name: string; generation: number; caughtUp: boolean }>;
async function generationsOf(projector: string, { url }: GatewayOptions): Promise<readonly ShownGeneration[]> {
  const query = '{ consumers(unused: true) { name generation caughtUp } }';
  const { consumers } = await askGateway(gatewayUrl(url), query, {});
  return (consumers as readonly ShownGeneration[]).filter(({ name }) => name === projector);
}

const mustBeSwapped = ({ state, waitsFor }: ShownRebuild): boolean => state === 'READY' && waitsFor.length > 0;

function sentence(one: ShownRebuild): string {
  const { projector, from, to, state, percent, position, logEnd, eventsPerSecond, etaSeconds } = one;
  const name = `${projector} ${from} → ${to}`;
  if (state === 'SWAPPED') return `${name}: is read since ${one.swappedAt}.`;
  const speed = eventsPerSecond === null ? '' : `, ${count(eventsPerSecond)} events/s`;
  const left = etaSeconds === null ? '' : `, ${duration(etaSeconds)} left`;
  const waits = state === 'BUILDING' && one.deadCount === 0 ? '' : `; waits: ${one.waitsFor.join('; ')}`;
  return `${name}: ${state.toLowerCase()}, ${percent} % (${position} of ${logEnd}${speed}${left})${waits}`;
}

/** `millrace rebuild diff`: 0 when both are the same, 1 when they differ or it cannot be told yet. */
export async function diffRebuild(projector: string, options: GatewayOptions): Promise<number> {
  const url = gatewayUrl(options.url);
  const query = `query($projector: String!, $after: Cursor) { rebuildDiff(projector: $projector, after: $after) {
    from to logEnd oldPosition newPosition sameCount changedCount onlyOldCount onlyNewCount unsettledCount next totalCount
    samples { id kind fields { name old new } } } }`;
  const terminal = process.stderr.isTTY === true;
  let all: ShownDiff | undefined;
  do {
    const part = (await askGateway(url, query, { projector, after: all?.next })).rebuildDiff as ShownDiff;
    all = all === undefined ? part : added(all, part);
    if (terminal && part.next !== null) {
      process.stderr.write(`\r\u001b[K${count(compared(all))} of about ${count(all.totalCount)} documents`);
    }
  } while (all.next !== null);
  if (terminal) process.stderr.write('\r\u001b[K');
  print(options, all, diffText(projector, all));
  return compared(all) === all.sameCount ? 0 : 1;
}

const compared = (one: ShownDiff): number =>
  one.sameCount + one.changedCount + one.onlyOldCount + one.onlyNewCount + one.unsettledCount;

function added(all: ShownDiff, part: ShownDiff): ShownDiff {
  return {
    ...part,
    sameCount: all.sameCount + part.sameCount,
    changedCount: all.changedCount + part.changedCount,
    onlyOldCount: all.onlyOldCount + part.onlyOldCount,
    onlyNewCount: all.onlyNewCount + part.onlyNewCount,
    unsettledCount: all.unsettledCount + part.unsettledCount,
    samples: [...all.samples, ...part.samples].slice(0, SAMPLES_MAX_COUNT),
  };
}

function diffText(projector: string, diff: ShownDiff): string {
  const apart = Math.abs(Number(diff.oldPosition) - Number(diff.newPosition));
  const level = apart === 0 ? 'level' : `${count(apart)} events apart`;
  const lines = [
    `${projector}: generation ${diff.from} at position ${diff.oldPosition}, generation ${diff.to} at ${diff.newPosition} of ${diff.logEnd}: ${level}.`,
    `${count(diff.sameCount)} documents are the same, ${count(diff.changedCount)} changed, ${count(diff.onlyOldCount)} are only in the old one, ${count(diff.onlyNewCount)} only in the new one.`,
  ];
  if (diff.unsettledCount > 0) {
    lines.push(
      `${count(diff.unsettledCount)} cannot be told yet: one of the two has not handled the last event of the other.`,
    );
  }
  const shown = (value: unknown): string => short(JSON.stringify(value) ?? 'null', 60);
  for (const { id, kind, fields } of diff.samples) {
    const what = fields.map((field) => `${field.name}: ${shown(field.old)} → ${shown(field.new)}`);
    lines.push(`  ${kind.toLowerCase().replace('_', ' ')} ${short(id, 60)}  ${what.join(', ')}`);
  }
  return `${lines.join('\n')}\n`;
}

export type RebuildAction = 'swap' | 'pause' | 'resume' | 'abort' | 'start';

/** `millrace rebuild swap`, `pause`, `resume`, `abort`, `start`: 0. */
export async function actOnRebuild(
  action: RebuildAction,
  projector: string,
  options: GatewayOptions & { readonly reason: string },
): Promise<number> {
  const field = `${action}Rebuild`;
  const query = `mutation($projector: String!, $reason: String!) { ${field}(projector: $projector, reason: $reason) { ${REBUILD} } }`;
  const { reason, url } = options;
  const found = (await askGateway(gatewayUrl(url), query, { projector, reason }))[field] as ShownRebuild;
  return print(options, found, `${sentence(found)}\n`);
}
