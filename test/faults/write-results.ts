/** Writes test/faults/RESULTS.md from the figures that the last runs left: `node scripts/run.mjs test/faults/write-results.ts`. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FaultRecord, FIGURES } from './harness/record.ts';

const FILE = 'test/faults/RESULTS.md';

const names = (await readdir(FIGURES)).filter((name) => name.endsWith('.json'));
const records = await Promise.all(
  names.map(async (name) => JSON.parse(await readFile(join(FIGURES, name), 'utf8')) as FaultRecord),
);
const order = ({ id, profile }: FaultRecord): string =>
  id.replace(/\d+/, (digits) => digits.padStart(3, '0')) + profile;
records.sort((a, b) => order(a).localeCompare(order(b)));

const row = ({ id, title, target, profile, seed, at, tookMs, figures }: FaultRecord): string => {
  const shown = Object.entries(figures).map(([name, value]) => `${name}: ${value}`);
  const cells = [
    id,
    title,
    target,
    profile,
    shown.join('; '),
    `${Math.round(tookMs / 1_000)} s`,
    at.slice(0, 10),
    seed,
  ];
  return `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`;
};

await writeFile(
  FILE,
  `# Faults: the figures of the last runs
Written by \`node scripts/run.mjs test/faults/write-results.ts\` from what \`npm run test:faults\` measured; 2 cores that servers,
processes and clients share. Every run also checked the invariants of [harness/checkers.ts](harness/checkers.ts): acknowledged
exactly once, streams and positions without gaps, reads that hold the own writes, one effect for each event, no money made or
lost, every transfer ended, subscriptions without gap or repetition, checkpoints that never go back, no process that ended by
itself. A row is of the last run that held, and has its date; "raw" is what BullMQ and Yoga do without Millrace.
\`FAULT_SEED=N npm run test:faults -- -t 'F11'\` repeats one.

| | fault | target | settings | figures | took | on | seed |
|---|---|---|---|---|---|---|---|
${records.map(row).join('\n')}
`,
);
console.log(`${FILE}: ${records.length} runs`);
