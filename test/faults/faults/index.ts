import type { Fault } from '../harness/fault.ts';
import { mongodKilled } from './f11-mongod-killed.ts';

/** Every fault of the table that is tried as processes, in the order in which they run. */
export const faults: readonly Fault[] = [mongodKilled];
