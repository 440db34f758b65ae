import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { missingBinaries, root, whyInstall } from '../../scripts/setup.mjs';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(inject('dataRoot'), 'scripts-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

describe('the closing line of .ci/run', () => {
  const counts = { numPassedTests: 3, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, success: true };
  const file = (status: string, tests: readonly string[]) => ({
    name: join(process.cwd(), 'test', 'a.test.ts'),
    status,
    assertionResults: tests.map((one) => ({ status: one, fullName: 'a', failureMessages: [] })),
  });

  async function count(
    report: unknown,
    others: readonly string[] = [],
  ): Promise<{ readonly line: string | undefined; readonly code: number }> {
    const { lines, code } = await run(report, others);
    return { line: lines.at(-1), code };
  }

  async function run(
    report: unknown,
    others: readonly string[] = [],
  ): Promise<{ readonly lines: readonly string[]; readonly code: number }> {
    const path = join(folder, 'report.json');
    if (report !== undefined) await writeFile(path, JSON.stringify(report));
    return new Promise((resolve) => {
      execFile(process.execPath, [join(root, 'scripts', 'count-tests.mjs'), path, ...others], (error, stdout) => {
        resolve({ lines: stdout.trimEnd().split('\n'), code: error === null ? 0 : Number(error.code) });
      });
    });
  }

  test('counts what passed', async () => {
    const testResults = [file('passed', ['passed', 'passed', 'passed'])];
    expect(await count({ ...counts, testResults })).toEqual({ line: '3 passed, 0 failed', code: 0 });
  });

  test('names skipped tests', async () => {
    const testResults = [file('passed', ['passed', 'skipped'])];
    const report = { ...counts, numPendingTests: 1, numTodoTests: 1, testResults };
    expect(await count(report)).toEqual({ line: '3 passed, 0 failed, 2 skipped', code: 0 });
  });

  test('fails when a test failed, and when a file could not be loaded', async () => {
    const failing = {
      ...counts,
      numFailedTests: 1,
      success: false,
      testResults: [file('failed', ['failed', 'passed'])],
    };
    expect(await count(failing)).toEqual({ line: '3 passed, 1 failed', code: 1 });
    const broken = { ...counts, success: false, testResults: [file('passed', ['passed']), file('failed', [])] };
    expect(await count(broken)).toEqual({ line: '3 passed, 1 failed', code: 1 });
  });

  test('is preceded by every failure: its file, its name, and how its message begins', async () => {
    const assertionResults = [
      { status: 'passed', fullName: 'a holds', failureMessages: [] },
      {
        status: 'failed',
        fullName: 'a breaks',
        failureMessages: [`\u001b[31mexpected 1 to be 2\u001b[39m\n${'  at x\n'.repeat(50)}`],
      },
    ];
    const testResults = [
      { name: join(process.cwd(), 'test', 'a.test.ts'), status: 'failed', assertionResults },
      {
        name: join(process.cwd(), 'test', 'b.test.ts'),
        status: 'failed',
        assertionResults: [],
        message: 'cannot load',
      },
    ];
    const { lines } = await run({ ...counts, numFailedTests: 1, success: false, testResults });
    expect(lines.filter((line) => !line.includes('at x'))).toEqual([
      'FAILED test/a.test.ts › a breaks',
      '  expected 1 to be 2',
      'FAILED test/b.test.ts › the file as a whole',
      '  cannot load',
      '3 passed, 2 failed',
    ]);
    expect(lines.length).toBeLessThan(20);
  });

  test('adds up several reports, and fails when one of them is missing or empty', async () => {
    const first = { ...counts, testResults: [file('passed', ['passed'])] };
    const path = join(folder, 'first.json');
    await writeFile(path, JSON.stringify(first));
    expect(await count({ ...first, numPassedTests: 4 }, [path])).toEqual({ line: '7 passed, 0 failed', code: 0 });
    expect(await count({ ...first, numPassedTests: 0 }, [path])).toEqual({ line: '3 passed, 0 failed', code: 1 });
    expect(await count(first, [join(folder, 'none.json')])).toEqual({ line: '3 passed, 1 failed', code: 1 });
  });

  test('fails when no test ran or there is no report', async () => {
    expect(await count({ ...counts, numPassedTests: 0, testResults: [] })).toEqual({
      line: '0 passed, 0 failed',
      code: 1,
    });
    await rm(join(folder, 'report.json'));
    expect(await count(undefined)).toEqual({ line: '0 passed, 1 failed', code: 1 });
  });
});

describe('dependencies are installed', () => {
  type Packages = Readonly<Record<string, object>>;

  async function project(wanted: Packages, installed?: Packages): Promise<string> {
    await writeFile(join(folder, 'package-lock.json'), JSON.stringify({ packages: { '': {}, ...wanted } }));
    if (installed !== undefined) {
      await mkdir(join(folder, 'node_modules'));
      const hidden = join(folder, 'node_modules', '.package-lock.json');
      await writeFile(hidden, JSON.stringify({ packages: installed }));
    }
    return folder;
  }
  const a = { 'node_modules/a': { version: '1.0.0' } };

  test('on a fresh clone', async () => {
    expect(whyInstall(await project(a))).toBe('none yet');
  });

  test('when one is missing or has another version', async () => {
    expect(whyInstall(await project(a, {}))).toBe('node_modules/a is missing');
    await rm(join(folder, 'node_modules'), { recursive: true });
    expect(whyInstall(await project(a, { 'node_modules/a': { version: '0.9.0' } }))).toBe(
      'node_modules/a is not 1.0.0',
    );
  });

  test('not again when all are there, whatever this platform leaves out', async () => {
    const wanted = { ...a, 'node_modules/b-darwin': { version: '1.0.0', optional: true } };
    expect(whyInstall(await project(wanted, a))).toBeUndefined();
    expect(whyInstall(root)).toBeUndefined();
  });

  test("with this platform's binaries that the lock file lacks", async () => {
    const optionalDependencies = {
      '@r/rollup-linux-x64-gnu': '4.0.0',
      '@r/rollup-linux-x64-musl': '4.0.0',
      '@r/rollup-darwin-arm64': '4.0.0',
      '@r/rollup-win32-x64-msvc': '4.0.0',
      '@b/cli-darwin-arm64': '2.0.0',
    };
    const locked = { '@r/rollup-linux-x64-gnu': { version: '4.0.0', optional: true } };
    const wanted = {
      'node_modules/rollup': { version: '4.0.0', optionalDependencies },
      ...Object.fromEntries(Object.entries(locked).map(([name, entry]) => [`node_modules/${name}`, entry])),
    };
    await project(wanted, {});
    await mkdir(join(folder, 'node_modules', '@b', 'cli-darwin-arm64'), { recursive: true });
    const on = (name: string, musl = false) => missingBinaries(folder, { name, musl });
    expect(on('linux-x64')).toEqual([]);
    expect(on('linux-x64', true)).toEqual(['@r/rollup-linux-x64-musl@4.0.0']);
    expect(on('darwin-arm64')).toEqual(['@r/rollup-darwin-arm64@4.0.0']);
    expect(on('win32-x64')).toEqual(['@r/rollup-win32-x64-msvc@4.0.0']);
    expect(on('win32-arm64')).toEqual([]);
    expect(missingBinaries(root)).toEqual([]);
  });

  test('as package.json names them: the lock file agrees', async () => {
    const read = async (file: string) => JSON.parse(await readFile(join(root, file), 'utf8'));
    const { dependencies, devDependencies, optionalDependencies } = await read('package.json');
    const { packages } = await read('package-lock.json');
    expect(packages['']).toMatchObject({ dependencies, devDependencies });
    expect([optionalDependencies, packages[''].optionalDependencies]).toEqual([undefined, undefined]);
  });
});
