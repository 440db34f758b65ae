import { runCommand } from './run-command.ts';

/** What a server program says of itself. */
export interface Checked {
  /** e.g. "mongod 6.0.5", "Valkey 9.1.2". */
  readonly version: string;
}

const MINIMUM = { mongod: [6, 0], Redis: [6, 2], Valkey: [7, 2] } as const;

/** Runs `--version`. Throws, in one line, when the program does not run, is something else or is too old. */
export async function checkMongod(path: string): Promise<Checked> {
  const text = await versionOutput(path);
  return atLeast('mongod', /db version v(\d+)\.(\d+)\.(\d+)/.exec(text), path);
}

/** The same for redis-server and valkey-server. */
export async function checkRedisServer(path: string): Promise<Checked> {
  const text = await versionOutput(path);
  const name = /^Valkey/i.test(text) ? 'Valkey' : 'Redis';
  return atLeast(name, /server v=(\d+)\.(\d+)\.(\d+)/.exec(text), path);
}

async function versionOutput(path: string): Promise<string> {
  const result = await runCommand(path, ['--version'], { timeoutMs: 20_000 });
  if (result.problem !== undefined) throw new Error(`${path} does not run: ${result.problem}`);
  return result.stdout.trim();
}

function atLeast(name: keyof typeof MINIMUM, match: RegExpExecArray | null, path: string): Checked {
  if (match === null) throw new Error(`${path} --version does not say which version it is`);
  const [major, minor, patch] = match.slice(1).map(Number);
  const [minimumMajor, minimumMinor] = MINIMUM[name];
  const version = `${name} ${major}.${minor}.${patch}`;
  if (major === undefined || minor === undefined) throw new Error(`${path}: no version`);
  if (major < minimumMajor || (major === minimumMajor && minor < minimumMinor)) {
    throw new Error(`${path} is ${version}; ${minimumMajor}.${minimumMinor} or newer is needed`);
  }
  return { version };
}
