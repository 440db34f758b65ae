import { describe, expect, test } from 'vitest';
import { parseCrash } from '../../src/crash-points.ts';
import { readSettings } from '../../src/settings.ts';

const servers = { MONGODB_URL: 'mongodb://127.0.0.1/', REDIS_URL: 'redis://127.0.0.1' };

describe('a crash point', () => {
  test.each([
    ['after-append', { point: 'after-append', passing: 1, signal: 'SIGKILL' }],
    ['before-commit#12', { point: 'before-commit', passing: 12, signal: 'SIGKILL' }],
    ['before-commit#2:SIGSTOP', { point: 'before-commit', passing: 2, signal: 'SIGSTOP' }],
  ])('is armed by %s', (text, crash) => {
    expect(parseCrash(text)).toEqual(crash);
    expect(readSettings({ ...servers, MILLRACE_CRASH: text }).crash).toEqual(crash);
  });

  test.each([
    '',
    'nowhere',
    'constructor',
    'after-append#0',
    'after-append#x',
    'after-append#1:SIGTERM',
    'after append',
  ])('is not armed by "%s", and the error names those that there are', (text) => {
    expect(() => parseCrash(text)).toThrow(
      expect.objectContaining({ code: 'SETTINGS_INVALID', message: expect.stringContaining('before-append') }),
    );
  });

  test('is refused in production, by its name', () => {
    const settings = { ...servers, NODE_ENV: 'production', MILLRACE_CRASH: 'after-append#3' };
    expect(() => readSettings(settings)).toThrow(
      expect.objectContaining({ code: 'SETTINGS_INVALID', message: expect.stringContaining('MILLRACE_CRASH') }),
    );
    expect(readSettings({ ...servers, NODE_ENV: 'production' }).crash).toBeUndefined();
  });
});
