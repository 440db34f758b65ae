import { describe } from 'vitest';
import { faults } from './faults/index.ts';
import { faultTest } from './harness/run-as-test.ts';

/** All of them, one at a time: `npm run test:faults [-- -t F11]`. */
describe('what the system survives', () => {
  for (const fault of faults) {
    for (const profile of fault.profiles ?? (['fast', 'production'] as const)) faultTest(fault, profile, 'full');
  }
});
