// npm run soak -- [--minutes 15] [--seed N]: seeded random faults under load, then every invariant.
import { runInForeground, setUp, sourceFlags } from './setup.mjs';

setUp();
runInForeground([...sourceFlags, 'test/faults/soak.ts', ...process.argv.slice(2)]);
