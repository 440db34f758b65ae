import type { FlowStep, StepState } from '../engine/contract/runtime.ts';

/** A step as GraphQL gives it. */
export interface ShownStep
  extends Pick<FlowStep, 'id' | 'parentId' | 'kind' | 'name' | 'subject' | 'attempts' | 'durationMs' | 'error'> {
  readonly status: StepState;
  readonly startedAt: string | null;
  readonly event: { readonly position: string | null } | null;
}
export interface ShownFlow {
  readonly correlationId: string;
  readonly settled: boolean;
  readonly truncated: boolean;
  readonly steps: readonly ShownStep[];
}

const colours: Readonly<Record<StepState, number>> = {
  PENDING: 33,
  RUNNING: 36,
  DONE: 32,
  REJECTED: 35,
  RETRYING: 33,
  DEAD: 31,
  CANCELLED: 90,
};
const NAME_MAX = 60;
const ERROR_MAX = 160;

/** A flow for people: the tree of what caused what, when each step began after the first, how long it took, what failed. */
export function flowTree(flow: ShownFlow, options: { readonly colour: boolean }): string {
  const { steps } = flow;
  const begins = steps.map(beginMs).filter((at) => at !== undefined);
  const first = Math.min(...begins);
  const children = new Map<string | null, ShownStep[]>();
  for (const step of steps) children.set(step.parentId, [...(children.get(step.parentId) ?? []), step]);
  const rows: Row[] = [];
  const visit = (parentId: string | null, prefix: string): void => {
    const own = children.get(parentId) ?? [];
    own.forEach((step, index) => {
      const last = index === own.length - 1;
      const root = parentId === null;
      rows.push(rowOf(step, root ? '' : `${prefix}${last ? '└─ ' : '├─ '}`, first));
      const below = root ? '' : `${prefix}${last ? '   ' : '│  '}`;
      if (step.error !== null) rows.push({ ...EMPTY, name: `${below}   ${errorLine(step.error)}` });
      visit(step.id, below);
    });
  };
  visit(null, '');
  const width = Math.max(...rows.filter(({ status }) => status !== undefined).map(({ name }) => name.length), 0);
  const lines = rows.map((row) => lineOf(row, width, options.colour));
  const state = flow.settled ? 'settled' : 'under way';
  const more = flow.truncated ? ', and more that are not shown' : '';
  return [`Flow ${flow.correlationId}: ${state}, ${steps.length} steps${more}`, '', ...lines, ''].join('\n');
}

interface Row {
  readonly name: string;
  readonly status: StepState | undefined;
  readonly began: string;
  readonly took: string;
  readonly notes: string;
}
const EMPTY: Row = { name: '', status: undefined, began: '', took: '', notes: '' };

const beginMs = ({ startedAt }: ShownStep): number | undefined =>
  startedAt === null ? undefined : Date.parse(startedAt);

function rowOf(step: ShownStep, prefix: string, first: number): Row {
  const at = beginMs(step);
  const label = plain(`${step.kind.toLowerCase()} ${step.name} ${step.subject}`);
  const { event, attempts, durationMs } = step;
  return {
    name: `${prefix}${label.length > NAME_MAX ? `${label.slice(0, NAME_MAX)}…` : label}`,
    status: step.status,
    began: at === undefined ? '' : `+${duration(at - first)}`,
    took: durationMs === null ? '' : duration(durationMs),
    notes: [event?.position == null ? '' : `#${event.position}`, attempts > 1 ? `${attempts} attempts` : '']
      .filter((note) => note !== '')
      .join(', '),
  };
}

function lineOf({ name, status, began, took, notes }: Row, width: number, colour: boolean): string {
  if (status === undefined) return colour ? `\u001b[31m${name}\u001b[0m` : name;
  const shown = status.padEnd(9);
  const state = colour ? `\u001b[${colours[status]}m${shown}\u001b[0m` : shown;
  return `${name.padEnd(width)}  ${state}  ${began.padStart(9)}  ${took.padStart(8)}  ${notes}`.trimEnd();
}

function errorLine({ code, message }: { readonly code: string; readonly message: string }): string {
  const [line = ''] = message.split(/[\r\n]/, 1);
  const text = `${code}: ${line}`;
  return plain(text.length > ERROR_MAX ? `${text.slice(0, ERROR_MAX)}…` : text);
}

/** Text of others on a terminal: no control characters. */
const plain = (text: string): string => text.replaceAll(/\p{Cc}/gu, ' ');

function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  return ms < 3_600_000 ? `${(ms / 60_000).toFixed(1)} min` : `${(ms / 3_600_000).toFixed(1)} h`;
}
