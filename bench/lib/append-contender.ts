import { closedLoop, type LoopFigures } from './closed-loop.ts';
import { ACCOUNT_COUNT } from './options.ts';
import { serve } from './serve.ts';

export interface AppendRound {
  readonly concurrency: number;
  readonly durationMs: number;
}

/**
 * A process that answers deposits. Accounts take turns, so that no two operations in flight meet on one account: the
 * figure is about appending, not about conflicts.
 */
export function serveAppend(contender: {
  /** Opens the accounts `acc-0` … */
  prepare(): Promise<unknown>;
  deposit(account: number): Promise<unknown>;
  /** Commands in the database, the 2,000 openings among them. */
  stored(): Promise<number>;
  stop(): Promise<unknown>;
}): void {
  let next = 0;
  let acknowledgedCount = ACCOUNT_COUNT;
  serve(
    {
      prepare: () => contender.prepare(),
      async round({ concurrency, durationMs }: AppendRound): Promise<LoopFigures> {
        const figures = await closedLoop({
          concurrency,
          durationMs,
          operation: () => {
            next = (next + 1) % ACCOUNT_COUNT;
            return contender.deposit(next);
          },
        });
        acknowledgedCount += figures.count;
        return figures;
      },
      /** What was acknowledged is what is there, else the figure is none. */
      async verify(): Promise<void> {
        const stored = await contender.stored();
        if (stored !== acknowledgedCount) throw new Error(`${acknowledgedCount} acknowledged, ${stored} stored`);
      },
    },
    () => contender.stop(),
  );
}

export const accountId = (account: number): string => `acc-${account}`;
export const OWNER = { owner: 'Ada Lovelace', currency: 'EUR' } as const;

export function environment(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}
