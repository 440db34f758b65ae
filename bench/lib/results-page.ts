import { ACCOUNT_COUNT, type BenchOptions } from './options.ts';

/** RESULTS.md: machine, method, table. */
export function resultsPage(machine: readonly string[], options: BenchOptions, table: string, cpu: string): string {
  return `# Benchmark results

Written by \`npm run bench\`; do not edit.

## Machine
${machine.map((line) => `- ${line}`).join('\n')}

## Method
- MongoDB, Redis, the load generator and the system under test share these cores: **the CPU of all of them is part of every figure**. Compare ratios, not absolute numbers, with other machines.
- Each row stands beside its baselines, measured in the same run and interleaved (A B C, A B C, …): ${options.roundCount} rounds of ${options.roundMs / 1000} s; the table shows the median of the rounds and the smallest and largest.
- Baselines are marked with a dot. Every write, theirs too, is acknowledged with \`w: majority, j: true\`. An operation that fails ends the benchmark: no figure contains errors.
- Each contender runs in a process of its own, the load generator for GraphQL in another. Millrace is the compiled package as its users have it, with the settings of production. "Loop delay" is the 99th percentile of the event-loop delay of the process under test.
- Append: ${ACCOUNT_COUNT.toLocaleString('en-US')} accounts take turns, so that no two operations in flight meet on one. At the end the stored commands are counted: they are exactly the acknowledged ones. The raw baselines keep versions in memory and decide nothing. Emmett is its MongoDB store 0.42.4 on its core 0.42.0.
- GraphQL: the empty mutation has the same input, answer and Yoga options as the gateway's, served as Yoga's documents show it: Yoga reads the body, and a plugin of Yoga's prevents CSRF. Millrace's gateway does both before Yoga, which is how a gateway alone can be faster than an empty mutation.
- Reads: one account a request over four sockets. A token is *known* when this gateway has waited for it before; it remembers 5,000.
- End to end: one client sends deposits over HTTP (64 connections) and watches every account over graphql-ws (50 on a socket). A time runs from sending a mutation to the first push that shows its effect, so merged pushes count once for each event they show; events/s is all events until the last was pushed. Loads start after every account has sent its snapshot, and after a round of warm-up. The hand-written stack keeps versions in memory and decides nothing; it is measured in one process and in two.
- Realtime: sockets without a library, the same for all contenders, in a process of their own. Fan-out: a time runs from when the news is on Redis until a socket has the message; the bare server sends the bytes that Millrace sent before; a round is the mean of five changes. Many changes: of bare graphql-ws whole documents come over Redis in batches; Millrace reads them, and may merge changes, so figures are by message.
- Resume: one subscriber over a socket, from asking until CAUGHT_UP; beside it a cursor of the driver over as many documents of the same collection.
- Memory: a fresh server each round (of Millrace the gateway process), measured after a garbage collection before and after the subscribers came.

## Figures
${table}

## CPU of one event, end to end
What every process spends on one event, in microseconds. The sum bounds what the two cores can do when all of them are busy all the time; a stack whose work is in one thread is bounded by that thread first.

${cpu}
`;
}
