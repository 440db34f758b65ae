// npm run test:faults [-- -t F11] [-- vitest options]: every fault of test/faults, one at a time.
import { runInForeground, setUp } from './setup.mjs';

setUp();
runInForeground([
  'node_modules/vitest/vitest.mjs',
  'run',
  '--config',
  'vitest.faults.config.ts',
  ...process.argv.slice(2),
]);
