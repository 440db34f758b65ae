// node scripts/run.mjs FILE [ARGS…]: runs a TypeScript file of this repository as it is.
import { fail, runInForeground, setUp, sourceFlags } from './setup.mjs';

const [file, ...args] = process.argv.slice(2);
if (file === undefined) fail('usage: node scripts/run.mjs FILE [ARGS…]');
setUp();
runInForeground([...sourceFlags, file, ...args]);
