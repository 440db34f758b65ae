/** One measured round. Other figures than the main one are shown where they are present. */
export interface Sample {
  readonly value: number;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
  readonly loopDelayP99Ms?: number;
  /** Microseconds of CPU for one operation, by process. */
  readonly cpuMicros?: Readonly<Record<string, number>>;
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
  /** Bounds of a line by itself. */
  readonly floors?: readonly Bound[];
}

/** Of `value`, unless another figure is named; `moreThan`: of what it is above another line. */
export interface Bound {
  readonly subject: string;
  readonly figure?: 'value' | 'p50Ms' | 'p99Ms';
  readonly moreThan?: string;
  readonly atLeast?: number;
  readonly atMost?: number;
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

const column = (line: Line, figure: Exclude<keyof Sample, 'cpuMicros'>): readonly number[] =>
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
    parts.push(boundVerdict(group, line, floor));
  }
  const delay = column(line, 'loopDelayP99Ms');
  if (!line.baseline && delay.length > 0) parts.push(`loop delay (< 50: ${median(delay) < 50 ? 'met' : 'NOT MET'})`);
  return parts.join('; ');
}

function boundVerdict(group: Group, line: Line, { figure = 'value', moreThan, atLeast, atMost }: Bound): string {
  const other = group.lines.find(({ name }) => name === moreThan);
  const found = median(column(line, figure)) - (other === undefined ? 0 : median(column(other, figure)));
  const met = found >= (atLeast ?? -Infinity) && found <= (atMost ?? Infinity);
  const label = figure === 'value' ? '' : `${figure === 'p50Ms' ? 'p50' : 'p99'} `;
  const above = other === undefined ? '' : `${number(found)} above ${other.name} `;
  const asked = atLeast === undefined ? `≤ ${number(atMost ?? Number.NaN)}` : `≥ ${number(atLeast)}`;
  return `${label}${above}(${asked}: ${met ? 'met' : 'NOT MET'})`;
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

/** Where the CPU goes, for the groups that measured it: medians of the rounds. */
export function cpuTable(groups: readonly Group[]): string {
  const rows = groups.flatMap((group) => {
    const lines = group.lines.filter(({ samples }) => samples.some(({ cpuMicros }) => cpuMicros !== undefined));
    if (lines.length === 0) return [];
    return [[`*${group.title}*`, '', '', ''], ...lines.map((line) => cpuCells(line))];
  });
  return print(['what', 'µs in all', '2 s of CPU are enough for', 'by process'], rows, [1, 2]);
}

function cpuCells(line: Line): string[] {
  const names = [...new Set(line.samples.flatMap(({ cpuMicros }) => Object.keys(cpuMicros ?? {})))];
  const parts = names.map((name) => {
    const values = line.samples.flatMap(({ cpuMicros }) => cpuMicros?.[name] ?? []);
    return { name, micros: median(values) };
  });
  const sum = parts.reduce((total, { micros }) => total + micros, 0);
  const shares = parts.map(({ name, micros }) => `${name} ${number(micros)}`).join(', ');
  return [line.baseline ? `· ${line.name}` : `**${line.name}**`, number(sum), `${number(2_000_000 / sum)}/s`, shares];
}

/** One Markdown table, padded so that it reads in a terminal too. */
export function table(groups: readonly Group[]): string {
  const rows = groups.flatMap((group) => [
    [`*${group.title}*`, '', '', '', '', '', '', ''],
    ...group.lines.map((line) => cells(group, line)),
  ]);
  return print(HEAD, rows, [1, 2, 4, 5, 6]);
}

function print(head: readonly string[], rows: readonly (readonly string[])[], rightAligned: readonly number[]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const right = new Set(rightAligned);
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, i) => (right.has(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0))).join(' | ')} |`;
  const rule = `|${widths.map((width, i) => (right.has(i) ? `${'-'.repeat(width + 1)}:` : '-'.repeat(width + 2))).join('|')}|`;
  return [line(head), rule, ...rows.map(line)].join('\n');
}
