/**
 * What `npm run bench -- …` takes: `--only append,http,flow,log,memory`, `--seconds` of a round, `--rounds`, `--events`,
 * `--subscribers`, `--quick`. RESULTS.md is written by whole runs only: neither `--only` nor `--quick`.
 */
export interface BenchOptions {
  readonly quick: boolean;
  readonly only: ReadonlySet<string> | undefined;
  /** Length of one round. */
  readonly roundMs: number;
  readonly roundCount: number;
  /** Events of the log scan and rebuild. */
  readonly eventCount: number;
  readonly subscriberCount: number;
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

export function readOptions(args: readonly string[]): BenchOptions {
  const value = (flag: string) => {
    const at = args.indexOf(flag);
    return at < 0 ? undefined : args[at + 1];
  };
  const count = (flag: string, fallback: number) => {
    const text = value(flag);
    const parsed = text === undefined ? fallback : Number(text);
    if (!Number.isFinite(parsed) || parsed <= 0) throw new Error(`${flag} needs a number above 0, got ${text}`);
    return parsed;
  };
  const quick = args.includes('--quick');
  const only = value('--only');
  return {
    quick,
    only: only === undefined ? undefined : new Set(only.split(',')),
    roundMs: count('--seconds', quick ? 1 : 3) * 1000,
    roundCount: count('--rounds', quick ? 1 : 3),
    eventCount: count('--events', quick ? 20_000 : 100_000),
    subscriberCount: count('--subscribers', quick ? 200 : 1_000),
  };
}
