// What every command does first, in plain JavaScript without a dependency: nothing is installed yet on a fresh clone.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const OLDEST_NODE = [20, 19];
/** One Ctrl-C arrives twice: from the terminal and from npm. */
const SAME_SIGNAL_MS = 500;

/** Flags with which Node runs the TypeScript sources as they are. */
export const sourceFlags = ['--conditions=millrace-source', '--import', 'tsx'];

/** Checks Node, installs what package-lock.json names where something is missing. Ends the process where it cannot. */
export function setUp() {
  checkNode();
  ensureDependencies(root);
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return;
  fail(
    `Millrace needs Node ${OLDEST_NODE.join('.')} or newer; this is ${process.versions.node} (${process.execPath}).`,
  );
}

/** Installs the packages of `folder` unless they are there already, each in the version of its lock file. */
export function ensureDependencies(folder) {
  const reason = whyInstall(folder);
  if (reason === undefined) return;
  console.error(`Installing dependencies (${reason}) …`);
  const started = Date.now();
  if (npmInstall(folder) !== 0) fail(`npm install failed in ${folder}; see above.`);
  const binaries = missingBinaries(folder);
  if (binaries.length > 0 && npmInstall(folder, binaries) !== 0)
    console.error(`Not installed: ${binaries.join(', ')}; see above. What needs them may not run on this platform.`);
  console.error(`Dependencies installed in ${((Date.now() - started) / 1000).toFixed(1)} s.`);
}

/** Exit code of npm. */
function npmInstall(folder, packages = []) {
  // npm names its own script when it runs us; run by hand, npm is on the PATH.
  const npm = process.env.npm_execpath;
  // Not `npm ci`: it refuses a lock file that lacks binaries for platforms which its author's registry did not have.
  // Versions and hashes are those of the lock file all the same, and it stays as it is.
  const args = ['install', '--no-save', '--include=dev', '--include=optional', '--no-audit', '--no-fund'];
  const [program, programArgs] = npm?.endsWith('.js')
    ? [process.execPath, [npm, ...args, '--loglevel=error', ...packages]]
    : ['npm', [...args, '--loglevel=error', ...packages]];
  const result = spawnSync(program, programArgs, {
    cwd: folder,
    stdio: ['ignore', 'inherit', 'inherit'],
    shell: program === 'npm' && process.platform === 'win32',
  });
  if (result.error) fail(`npm could not be started: ${result.error.message}`);
  return result.status;
}

/**
 * Binaries for this platform that the lock file does not have, as `name@version`, and that are not installed: npm 10
 * passes over them (npm 11 installs them). The packages that want them name their exact versions.
 */
export function missingBinaries(folder, platform = thisPlatform()) {
  const locked = readPackages(join(folder, 'package-lock.json'));
  const wanted = Object.values(locked).flatMap(({ optionalDependencies = {} }) => Object.entries(optionalDependencies));
  return wanted
    .filter(([name]) => isFor(name, platform) && locked[`node_modules/${name}`] === undefined)
    .filter(([name]) => !existsSync(join(folder, 'node_modules', name)))
    .map(([name, version]) => `${name}@${version}`);
}

function thisPlatform() {
  const { platform, arch, report } = process;
  const musl = platform === 'linux' && report.getReport().header.glibcVersionRuntime === undefined;
  return { name: `${platform}-${arch}`, musl };
}

/** By name: "cli-linux-x64", "rollup-linux-x64-musl", "rollup-win32-x64-msvc". */
function isFor(packageName, { name, musl }) {
  const [, libc] = packageName.match(new RegExp(`-${name}(?:-(gnu|musl|msvc))?$`)) ?? [undefined, 'none'];
  if (libc === 'none') return false;
  return !name.startsWith('linux-') || (musl ? libc !== 'gnu' : libc !== 'musl');
}

/**
 * Compares what is installed with the lock file, package by package: times of files say little after a checkout, and a
 * needless reinstall costs a minute.
 */
export function whyInstall(folder) {
  if (!existsSync(join(folder, 'node_modules', '.package-lock.json'))) return 'none yet';
  const wanted = readPackages(join(folder, 'package-lock.json'));
  const installed = readPackages(join(folder, 'node_modules', '.package-lock.json'));
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '') continue;
    const found = installed[path];
    if (found === undefined && !entry.optional && !entry.devOptional && !entry.link && !entry.peer)
      return `${path} is missing`;
    if (found !== undefined && found.version !== entry.version) return `${path} is not ${entry.version}`;
  }
  return undefined;
}

function readPackages(file) {
  return JSON.parse(readFileSync(file, 'utf8')).packages ?? {};
}

/** Runs Node in the foreground and ends this process as it ended. At the terminal Ctrl-C reaches the child by itself. */
export function runInForeground(args) {
  const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit' });
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill('SIGTERM'));
  endWith(child);
}

/**
 * The same for a program that has to stop in order: Ctrl-C at the terminal reaches the whole process group, and npm
 * passes it on once more, so the child is kept out of the group and gets each signal once. The channel lets it notice
 * when this process is killed.
 */
export function runDetached(args) {
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    detached: process.platform !== 'win32',
  });
  let lastSignalAt = 0;
  const passOn = (signal) => {
    const now = Date.now();
    if (now - lastSignalAt < SAME_SIGNAL_MS) return;
    lastSignalAt = now;
    child.kill(signal);
  };
  process.on('SIGINT', () => passOn('SIGINT'));
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => passOn('SIGTERM'));
  endWith(child);
}

function endWith(child) {
  child.on('error', (error) => fail(`${process.execPath} could not be started: ${error.message}`));
  child.on('exit', (code, signal) =>
    process.exit(code ?? (signal === 'SIGINT' ? 130 : signal === 'SIGTERM' ? 143 : 1)),
  );
}

export function fail(message) {
  console.error(message);
  process.exit(1);
}
