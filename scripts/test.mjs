// npm test [-- FILTER…] [-- vitest options]: set-up, then the tests. The servers come from vitest's global set-up.
import { runInForeground, setUp } from './setup.mjs';

setUp();
runInForeground(['node_modules/vitest/vitest.mjs', 'run', ...process.argv.slice(2)]);
