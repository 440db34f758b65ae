// npm run bench [-- options of bench/run.ts]: set-up, the benchmarks' own packages, servers of their own, the table.
import { join } from 'node:path';
import { ensureDependencies, root, runInForeground, setUp, sourceFlags } from './setup.mjs';

setUp();
ensureDependencies(join(root, 'bench', 'emmett'));
runInForeground([...sourceFlags, 'scripts/with-servers.ts', 'bench/run.ts', ...process.argv.slice(2)]);
