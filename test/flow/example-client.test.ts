import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { sourceFlags } from '../../scripts/setup.mjs';
import { startBank } from '../setup/gateway.ts';

const running = new Set<ChildProcess>();
afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** `npm run example:client` without npm. `onOut` sees what has been written so far. */
function runClient(
  args: readonly string[],
  onOut: (out: string, child: ChildProcess) => void = () => {},
): Promise<Ended> {
  const root = join(import.meta.dirname, '../..');
  const child = spawn(process.execPath, [...sourceFlags, 'examples/bank/client.ts', ...args], { cwd: root });
  running.add(child);
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
    onOut(out, child);
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      running.delete(child);
      resolve({ code, out, err });
    });
  });
}

describe('the example client', () => {
  test('opens accounts, moves money, and ends with what the gateway has pushed', async () => {
    const { url } = await startBank();
    // What it moves is random: it goes on until each kind of line was there.
    const wanted = [/^\S+ Ada \d+\.\d\d/m, /^\S+ (Ada|Barbara|Edsger) \d+\.\d\d \+\d+\.\d\d$/m];
    const { code, out, err } = await runClient(['--url', url, '--accounts', '3'], (text, child) => {
      if (!child.killed && wanted.every((line) => line.test(text))) child.kill('SIGTERM');
    });
    expect(err).toBe('');
    expect(out).not.toContain('connection is lost');
    for (const line of wanted) expect(out).toMatch(line);
    expect(out).toMatch(/\d+ movements, \d+ refused; mutation to push \d+ ms \(p50\), \d+ ms \(p99\)\./);
    expect(out).toMatch(/The balances shown are what was sent, to the cent\.\n$/);
    expect(code).toBe(0);
  });
  test('ends by itself after --seconds', async () => {
    const { url } = await startBank();
    const { code, out } = await runClient(['--url', url, '--accounts', '1', '--seconds', '2']);
    expect(out).toMatch(/The balances shown are what was sent, to the cent\.\n$/);
    expect(code).toBe(0);
  });
  test('ends cleanly on Ctrl-C', async () => {
    const { url } = await startBank();
    let interrupted = false;
    const { code, out } = await runClient(['--url', `${url}/graphql`, '--accounts', '1'], (text, child) => {
      if (interrupted || !/Ada \d+\.\d\d \+/.test(text)) return;
      interrupted = true;
      child.kill('SIGINT');
      // From the terminal and from npm.
      child.kill('SIGINT');
    });
    expect(out).toMatch(/to the cent\.\n$/);
    expect(code).toBe(0);
  });
  test('says what to do where there is no gateway', async () => {
    const { code, err } = await runClient(['--url', 'http://127.0.0.1:1', '--seconds', '5']);
    expect(err).toMatch(/^There is no gateway at ws:\/\/127\.0\.0\.1:1\/graphql .* Start one with `npm start`/);
    expect(code).toBe(1);
  });
  test.each([
    [['--accounts', '0'], '--accounts must be 1 to 50'],
    [['--seconds', 'soon'], '--seconds must be a number of seconds'],
    [['--speed', '9'], "Unknown option '--speed'"],
  ])('refuses %j with its usage', async (args, message) => {
    const { code, err } = await runClient(args);
    expect(err).toContain(message);
    expect(err).toContain('--url URL');
    expect(code).toBe(2);
  });
});
