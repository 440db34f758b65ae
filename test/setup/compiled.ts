import { existsSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { sourceFlags } from '../../scripts/setup.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** Tells the test files, which vitest runs in processes of their own. */
const VARIABLE = 'MILLRACE_TEST_COMPILED';

/** What tests start as processes, and the apps that those load. */
const ENTRIES = [
  'test/setup/processes/cli.ts',
  'test/setup/processes/hold-transaction.ts',
  'test/setup/processes/run-league.ts',
  'test/setup/processes/run-shop.ts',
  'test/setup/processes/run-webhook.ts',
  'test/setup/processes/run-worker.ts',
  'test/setup/processes/till-worker.ts',
  'test/setup/alarm-app.ts',
  'test/setup/stock-app.ts',
  'test/faults/harness/bulky-app.ts',
  'test/faults/harness/poison-app.ts',
  'examples/bank/app.ts',
];

/** Compiles them into the data of this run, as production would: a process that compiles itself takes three times as long to start. */
export async function compileProcesses(dataRoot: string): Promise<void> {
  const folder = join(dataRoot, 'compiled');
  await mkdir(folder);
  // So that they find their packages.
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  await build({
    absWorkingDir: root,
    entryPoints: ENTRIES,
    outbase: root,
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    sourcemap: 'inline',
    // This package by its own name, as examples import it.
    alias: {
      'millrace/graphql': join(root, 'resolvers/index.ts'),
      'millrace/testing': join(root, 'src/testing/index.ts'),
      millrace: join(root, 'src/index.ts'),
    },
    logLevel: 'warning',
  });
  process.env[VARIABLE] = folder;
}

/** What follows `node` to run this file of the repository: compiled, or from its sources where something is not compiled. */
export function nodeArguments(file: string, args: readonly string[] = []): string[] {
  const all = [file, ...args].map((arg) => (arg.endsWith('.ts') ? compiled(arg) : arg));
  if (all.includes(undefined)) return [...sourceFlags, file, ...args];
  return ['--enable-source-maps', ...all.filter((arg) => arg !== undefined)];
}

/** A file that does not exist stays what it is. */
function compiled(file: string): string | undefined {
  const folder = process.env[VARIABLE];
  const source = resolve(root, file);
  if (!existsSync(source)) return file;
  if (folder === undefined) return undefined;
  const path = join(folder, relative(root, source).replace(/\.ts$/, '.mjs'));
  return existsSync(path) ? path : undefined;
}
