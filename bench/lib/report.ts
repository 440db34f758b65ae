/** One measured round. Other figures than the main one are shown where they are present. */
export interface Sample {
  readonly value: number;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
  readonly loopDelayP99Ms?: number;
}

export interface Line {
  readonly name: string;
  readonly baseline: boolean;
  readonly samples: readonly Sample[];
}

/** A ratio that the issue asks for, between two lines of one group. */
export interface Target {
  readonly subject: string;
  readonly against: string;
  readonly figure: 'value' | 'p50Ms' | 'p99Ms';
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** Lines that were measured side by side, in one run. */
export interface Group {
  readonly title: string;
  readonly unit: string;
  readonly lines: readonly Line[];
  readonly targets: readonly Target[];
  /** Bound on `value` (`atLeast`) of a line by itself. */
  readonly floors?: readonly { readonly subject: string; readonly atLeast: number }[];
}

const HEAD = [
  'what',
  'median',
  'min–max',
  'unit',
  'p50 ms',
  'p99 ms',
  'loop delay p99 ms',
  'ratio to its baselines (asked for)',
];

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

const column = (line: Line, figure: keyof Sample): readonly number[] =>
  line.samples.flatMap((sample) => {
    const value = sample[figure];
    return value === undefined || Number.isNaN(value) ? [] : [value];
  });

function number(value: number): string {
  if (Number.isNaN(value)) return '';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
}

function verdict(group: Group, line: Line): string {
  const parts: string[] = [];
  for (const target of group.targets.filter(({ subject }) => subject === line.name)) {
    const other = group.lines.find(({ name }) => name === target.against);
    if (other === undefined) continue;
    const ratio = median(column(line, target.figure)) / median(column(other, target.figure));
    const label = target.figure === 'value' ? '' : `${target.figure === 'p50Ms' ? 'p50' : 'p99'} `;
    const asked =
      target.atLeast !== undefined ? `≥ ${target.atLeast}` : target.atMost !== undefined ? `≤ ${target.atMost}` : '';
    const met = ratio >= (target.atLeast ?? -Infinity) && ratio <= (target.atMost ?? Infinity);
    parts.push(
      `${label}${ratio.toFixed(2)} × ${target.against}${asked === '' ? '' : ` (${asked}: ${met ? 'met' : 'NOT MET'})`}`,
    );
  }
  for (const floor of group.floors?.filter(({ subject }) => subject === line.name) ?? []) {
    const met = median(column(line, 'value')) >= floor.atLeast;
    parts.push(`(≥ ${number(floor.atLeast)}: ${met ? 'met' : 'NOT MET'})`);
  }
  const delay = column(line, 'loopDelayP99Ms');
  if (!line.baseline && delay.length > 0) parts.push(`loop delay (< 50: ${median(delay) < 50 ? 'met' : 'NOT MET'})`);
  return parts.join('; ');
}

function cells(group: Group, line: Line): string[] {
  const values = column(line, 'value');
  return [
    `${line.baseline ? '· ' : '**'}${line.name}${line.baseline ? '' : '**'}`,
    number(median(values)),
    values.length > 1 ? `${number(Math.min(...values))}–${number(Math.max(...values))}` : '',
    group.unit,
    number(median(column(line, 'p50Ms'))),
    number(median(column(line, 'p99Ms'))),
    number(median(column(line, 'loopDelayP99Ms'))),
    verdict(group, line),
  ];
}

/** One Markdown table, padded so that it reads in a terminal too. */
export function table(groups: readonly Group[]): string {
  const rows = groups.flatMap((group) => [
    [`*${group.title}*`, '', '', '', '', '', '', ''],
    ...group.lines.map((line) => cells(group, line)),
  ]);
  const widths = HEAD.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const print = (row: readonly string[]) =>
    `| ${row.map((cell, i) => (i > 0 && i < 7 && i !== 3 ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0))).join(' | ')} |`;
  const rule = `|${widths.map((width, i) => (i > 0 && i < 7 && i !== 3 ? `${'-'.repeat(width + 1)}:` : '-'.repeat(width + 2))).join('|')}|`;
  return [print(HEAD), rule, ...rows.map(print)].join('\n');
}
