import type { BenchOptions } from './options.ts';

/** RESULTS.md: machine, method, table. */
export function resultsPage(machine: readonly string[], options: BenchOptions, table: string): string {
  return `# Benchmark results

Written by \`npm run bench\`; do not edit.

## Machine
${machine.map((line) => `- ${line}`).join('\n')}

## Method
- MongoDB, Redis, the load generator and the system under test share these cores: **the CPU of all of them is part of every figure**. Compare ratios, not absolute numbers, with other machines.
- Each row stands beside its baselines, measured in the same run and interleaved (A B C, A B C, …): ${options.roundCount} rounds of ${options.roundMs / 1000} s; the table shows the median of the rounds and the smallest and largest.
- Baselines are marked with a dot. Every write, theirs too, is acknowledged with \`w: majority, j: true\`. An operation that fails ends the benchmark: no figure contains errors.
- Each contender runs in a process of its own, the load generator for GraphQL in another. "Loop delay" is the 99th percentile of the event-loop delay of the process under test.

## Figures
${table}
`;
}
