/** Columns for people: a line of headings, then a line a row, padded; the last column is as long as it is. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, column) =>
    Math.max(widthOf(heading), ...rows.map((row) => widthOf(row[column] ?? ''))),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === headings.length - 1 ? cell : pad(cell, widths[column] ?? 0)))
      .join('  ')
      .trimEnd();
  return `${[headings, ...rows].map(line).join('\n')}\n`;
}

const pad = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - widthOf(text)));
const widthOf = (text: string): number => [...text].length;

/** One line of at most so many characters: what comes from handlers may hold anything. */
export function short(text: string, maxLength: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal must not obey what an error says
  const line = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
  return line.length > maxLength ? `${line.slice(0, maxLength - 1)}…` : line;
}

export const count = (value: number): string => value.toLocaleString('en-US');

/** How long ago a time was: "12 s", "3 min", "5 h", "2 d". */
export function ago(time: string | null, nowMs = Date.now()): string {
  return time === null ? '' : duration((nowMs - new Date(time).getTime()) / 1_000);
}

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 7_200) return `${Math.round(whole / 60)} min`;
  return whole < 172_800 ? `${Math.round(whole / 3_600)} h` : `${Math.round(whole / 86_400)} d`;
}
