import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { stampOf } from '../../src/services/process-stamp.ts';
import { until } from '../setup/until.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
let dataDir: string;
const started: Started[] = [];

beforeEach(async () => {
  dataDir = await mkdtemp(join(inject('dataRoot'), 'start-'));
});

afterEach(async () => {
  await Promise.all(started.splice(0).map((launcher) => launcher.end()));
  await rm(dataDir, { recursive: true, force: true });
});

interface Started {
  readonly launcher: ChildProcess;
  output(): string;
  /** The URL of the gateway, once it is announced. */
  url(): Promise<string>;
  readonly exited: Promise<number | null>;
  end(): Promise<void>;
}

/** `npm start` on a free port, with servers and data of its own. */
function npmStart(args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Started {
  const launcher = spawn(process.execPath, ['scripts/start.mjs', '--port', '0', ...args], {
    cwd: root,
    env: { ...process.env, MONGODB_URL: '', REDIS_URL: '', NODE_ENV: '', MILLRACE_DATA_DIR: dataDir, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [launcher.stdout, launcher.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
  }
  // Not at its exit: what it said last may still be on its way then.
  const exited = new Promise<number | null>((resolve) => launcher.on('close', resolve));
  const url = () =>
    until('the address of the gateway', () => /GraphQL\s+(http\S+)\/graphql/.exec(output)?.[1], {
      timeoutMs: 60_000,
      seen: () => output,
    });
  const end = async () => {
    if (launcher.exitCode === null && launcher.signalCode === null) launcher.kill('SIGTERM');
    await exited;
  };
  const handle = { launcher, output: () => output, url, exited, end };
  started.push(handle);
  return handle;
}

async function serverPid(name: 'mongo' | 'redis'): Promise<number> {
  return JSON.parse(await readFile(join(dataDir, `${name}.json`), 'utf8')).process.pid;
}

test('serves, shows a curl line that works, stops on SIGINT, and keeps its data', async () => {
  const first = npmStart();
  const url = await first.url();
  expect((await fetch(`${url}/health`)).status).toBe(200);
  await until('it is ready', async () => (await fetch(`${url}/ready`)).ok || undefined);
  const curl = await until('the curl line', () => /^\s*(curl .*)$/m.exec(first.output())?.[1]);
  const { stdout } = await run('sh', ['-c', curl]);
  const [outcome] = Object.values(JSON.parse(stdout).data);
  expect(outcome).toMatchObject({ __typename: 'CommandAccepted', version: 1 });
  const servers = await Promise.all([serverPid('mongo'), serverPid('redis')]);

  first.launcher.kill('SIGINT');
  expect(await first.exited).toBe(0);
  expect(servers.map((pid) => stampOf(pid))).toEqual([undefined, undefined]);

  const again = await npmStart().url();
  // It was accepted before the stop; its event may get its position after it.
  const edges = await until('its event', async () => {
    const answer = await fetch(`${again}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: '{ events(first: 10) { edges { node { type } } } }' }),
    });
    const { data } = await answer.json();
    return data.events.edges.length > 0 ? data.events.edges : undefined;
  });
  expect(edges).toHaveLength(1);
}, 300_000);

test('stops in order when its launcher is killed', async () => {
  const killed = npmStart();
  const url = await killed.url();
  const pid = await serverPid('mongo');
  const application: number = JSON.parse(await readFile(join(dataDir, 'lock.json'), 'utf8')).pid;
  killed.launcher.kill('SIGKILL');
  await until('the gateway is gone', () =>
    fetch(`${url}/health`).then(
      () => undefined,
      () => true,
    ),
  );
  await until('its MongoDB is gone', () => (stampOf(pid) === undefined ? true : undefined));
  await until('the application is gone', () => (stampOf(application) === undefined ? true : undefined));
}, 300_000);

test('a second start in the same folder is refused', async () => {
  await npmStart().url();
  const second = npmStart();
  expect(await second.exited).toBe(1);
  expect(second.output()).toContain('DATA_DIR_IN_USE');
}, 300_000);

test('nothing is embedded in production', async () => {
  const refused = npmStart([], { NODE_ENV: 'production' });
  expect(await refused.exited).toBe(1);
  expect(refused.output()).toContain('SETTINGS_INVALID');
  expect(refused.output()).toContain('MONGODB_URL');
}, 300_000);
