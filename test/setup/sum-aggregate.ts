import { z } from 'zod';
import { aggregate } from '../../src/index.ts';

/** What the aggregate does when it is asked to break. */
export interface Bug {
  /** How often `Add` throws before it works. */
  throwsCount: number;
  decidedCount: number;
  /** To add this kills the process. */
  readonly killsAt?: number;
}

/** A sum that refuses to go below zero, and breaks where a test wants it to. */
export function sumAggregate(bug: Bug = { throwsCount: 0, decidedCount: 0 }, by = z.int()) {
  return aggregate({
    name: 'sum',
    events: { Added: z.object({ by: z.int() }) },
    commands: { Add: z.object({ by, pin: z.string().optional() }) },
    fields: { Add: { pin: { store: false } } },
    rejections: ['BELOW_ZERO'],
    initial: () => 0,
    evolve: { Added: (sum, { by }) => sum + by },
    decide: {
      Add: (sum, { by }, { reject }) => {
        bug.decidedCount++;
        if (by === bug.killsAt) process.kill(process.pid, 'SIGKILL');
        if (bug.throwsCount > 0) {
          bug.throwsCount--;
          throw new Error('the sum is broken');
        }
        return sum + by < 0 ? reject('BELOW_ZERO', `the sum would be ${sum + by}`) : { type: 'Added', data: { by } };
      },
    },
  });
}
