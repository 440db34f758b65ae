import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { cacheRoot } from '../../src/services/cache.ts';
import { lock, tryLock } from '../../src/services/process-lock.ts';
import { startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';

const INSTALLER = 'test/setup/processes/install-once.ts';
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(inject('dataRoot'), 'cache-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

test('four processes that need a server at the same time install it once and all use it', async () => {
  const root = join(folder, 'together');
  const log = join(folder, 'together.log');
  const processes = Array.from({ length: 4 }, () => startSource(INSTALLER, [root, log, '300']));
  expect(await Promise.all(processes.map(({ exited }) => exited))).toEqual([0, 0, 0, 0]);
  expect(await readFile(log, 'utf8')).toBe('producing\n');
  expect(await readFile(join(root, 'tool-1', 'tool'), 'utf8')).toBe('whole');
  expect((await readdir(root)).filter((name) => name !== 'tool-1')).toEqual([]);
});

test('an installation that was killed half-way leaves nothing that is used, and the next one is not held up', async () => {
  const root = join(folder, 'killed');
  const log = join(folder, 'killed.log');
  const first = startSource(INSTALLER, [root, log, '60000']);
  await first.line();
  first.child.kill('SIGKILL');
  await first.exited;
  expect(await readdir(root)).not.toContain('tool-1');
  const second = startSource(INSTALLER, [root, log, '0']);
  expect(await second.exited).toBe(0);
  expect(await readFile(join(root, 'tool-1', 'tool'), 'utf8')).toBe('whole');
});

test('a lock is held by one at a time and says who holds it', async () => {
  const path = join(folder, 'one.lock');
  const first = await tryLock(path);
  if (!first.held) throw new Error('the lock was not free');
  expect(await tryLock(path)).toMatchObject({ held: false, holder: { pid: process.pid } });
  const waited: number[] = [];
  const second = lock(path, ({ pid }) => waited.push(pid));
  await until('the second one waits', () => (waited.length > 0 ? true : undefined));
  await first.release();
  await (await second)();
  expect(waited).toEqual([process.pid]);
});

test('the cache is where MILLRACE_CACHE_DIR says, else in the cache folder of the user', () => {
  expect(cacheRoot({ HOME: '/home/a' })).toBe(join('/home/a', '.cache', 'millrace'));
  expect(cacheRoot({ HOME: '/home/a', XDG_CACHE_HOME: '/cache' })).toBe(join('/cache', 'millrace'));
  expect(cacheRoot({ HOME: '/home/a', XDG_CACHE_HOME: '/cache', MILLRACE_CACHE_DIR: '/own' })).toBe('/own');
});
