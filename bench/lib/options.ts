import { parseArgs } from 'node:util';

/** What `npm run bench -- …` takes; USAGE says it to people. */
export interface BenchOptions {
  readonly quick: boolean;
  readonly only: ReadonlySet<string> | undefined;
  /** Length of one round. */
  readonly roundMs: number;
  readonly roundCount: number;
  /** Events of the log scan and rebuild. */
  readonly eventCount: number;
  readonly subscriberCount: number;
  /** Sockets of the fan-out. */
  readonly fanOutCount: number;
}

/** What every row family gets. */
export interface Bench {
  readonly options: BenchOptions;
  readonly mongodbUrl: string;
  readonly redisUrl: string;
  /** Database and key prefix names that only this run uses. */
  readonly unique: (name: string) => string;
  readonly say: (text: string) => void;
}

export const ACCOUNT_COUNT = 2_000;

const USAGE = `npm run bench -- [options]
  --only FAMILIES     some of append,load,http,reads,flow,realtime,resume,log,delivery,timers,memory; RESULTS.md is then left as it is
  --seconds N         length of a round (3)
  --rounds N          rounds of each row (3)
  --events N          events of the log scan and the rebuild (100000)
  --subscribers N     idle subscribers (1000)
  --quick             one short round of everything; RESULTS.md is left as it is
  --help              this text`;

/** Undefined when only the usage was asked for; it is printed then. Throws when the arguments cannot be read. */
export function readOptions(args: readonly string[]): BenchOptions | undefined {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...args],
    options: { only: text, seconds: text, rounds: text, events: text, subscribers: text, quick: flag, help: flag },
  });
  if (values.help) {
    console.log(USAGE);
    return undefined;
  }
  const { quick } = values;
  const count = (name: 'seconds' | 'rounds' | 'events' | 'subscribers', fallback: number) => {
    const parsed = Number(values[name] ?? fallback);
    if (!Number.isFinite(parsed) || parsed <= 0) throw new Error(`--${name} needs a number above 0.\n${USAGE}`);
    return parsed;
  };
  return {
    quick,
    only: values.only === undefined ? undefined : new Set(values.only.split(',')),
    roundMs: count('seconds', quick ? 1 : 3) * 1000,
    roundCount: count('rounds', quick ? 1 : 3),
    eventCount: count('events', quick ? 20_000 : 100_000),
    subscriberCount: count('subscribers', quick ? 200 : 1_000),
    fanOutCount: quick ? 500 : 5_000,
  };
}
