// npm run bench [-- options of bench/run.ts]: set-up, the benchmarks' own packages, the build that they measure, servers of
// their own, the table.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ensureDependencies, fail, root, runInForeground, setUp, sourceFlags } from './setup.mjs';

setUp();
ensureDependencies(join(root, 'bench', 'emmett'));
const { status } = spawnSync('npm', ['run', 'build', '--silent'], {
  cwd: root,
  stdio: 'inherit',
  shell: process.platform === 'win32',
});
if (status !== 0) fail('npm run build failed; see above.');
runInForeground([...sourceFlags, 'scripts/with-servers.ts', 'bench/run.ts', ...process.argv.slice(2)]);
