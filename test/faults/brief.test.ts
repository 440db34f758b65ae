import { describe } from 'vitest';
import { faults } from './faults/index.ts';
import { faultTest } from './harness/run-as-test.ts';

/** A few rounds of those that find most, with fast settings: every run of the tests has them. */
const CHOSEN = ['F3', 'F11', 'F14', 'F18', 'F20'];

describe('what the system survives, in brief', () => {
  for (const id of CHOSEN) {
    const fault = faults.find((known) => known.id === id);
    if (fault === undefined) throw new Error(`there is no fault ${id}`);
    faultTest(fault, 'fast', 'brief');
  }
});
