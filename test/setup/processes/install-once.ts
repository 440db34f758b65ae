/** ROOT LOG HOLD_MS: installs a small program once, writes "produced" to LOG when it had to. */
import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { installOnce } from '../../../src/services/cache.ts';
import { silentReport } from '../../../src/services/report.ts';

const [root = '', log = '', holdMs = '0'] = process.argv.slice(2);
const { path } = await installOnce({
  root,
  folder: 'tool-1',
  program: 'tool',
  origin: 'a test',
  report: silentReport,
  produce: async (folder) => {
    await writeFile(join(folder, 'tool'), 'half');
    await appendFile(log, 'producing\n');
    process.stdout.write('producing\n');
    await new Promise((resolve) => setTimeout(resolve, Number(holdMs)));
    await writeFile(join(folder, 'tool'), 'whole');
  },
});
process.stdout.write(`${path}\n`);
