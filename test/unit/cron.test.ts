import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { checkSchedules, nextTime } from '../../src/engine/timers/cron.ts';
import {
  aggregate,
  buildModel,
  command,
  isMillraceError,
  module,
  type ScheduleSpec,
  schedule,
} from '../../src/index.ts';

const lamp = aggregate({
  name: 'lamp',
  events: { Lit: z.object({}) },
  commands: { Light: z.object({}) },
  initial: () => null,
  evolve: { Lit: () => null },
  decide: { Light: () => ({ type: 'Lit', data: {} }) },
});
const modelOf = (spec: Partial<ScheduleSpec>) =>
  buildModel([
    module({
      name: 'lamps',
      parts: [
        lamp,
        schedule({
          name: 'evening',
          cron: '0 18 * * *',
          command: () => command(lamp, 'a', { type: 'Light', data: {} }),
          ...spec,
        }),
      ],
    }),
  ]);
const refusalOf = (spec: Partial<Record<keyof ScheduleSpec, unknown>>): string => {
  try {
    checkSchedules(modelOf(spec as Partial<ScheduleSpec>));
  } catch (error) {
    if (isMillraceError(error, 'DEFINITION_INVALID')) return error.message;
    throw error;
  }
  throw new Error('it was not refused');
};
const times = (cron: string, timeZone: string, from: string, count: number): string[] => {
  let after = new Date(from);
  return Array.from({ length: count }, () => {
    after = nextTime({ cron, timeZone }, after);
    return after.toISOString();
  });
};

describe('schedules, when the app starts', () => {
  test('five fields, or six with seconds, and an IANA time zone are taken', () => {
    for (const cron of ['0 9 * * 1-5', '*/10 * * * * *', '0 0 L * *', '0 0 29 2 *', '  5 4 * * sun  ']) {
      for (const timeZone of ['UTC', 'Europe/Berlin', 'America/Argentina/Buenos_Aires']) {
        expect(() => checkSchedules(modelOf({ cron, timeZone }))).not.toThrow();
      }
    }
  });
  test.each([
    ['* * *', /has 3 fields/],
    ['', /has 1 field\./],
    ['@daily', /has 1 field\./],
    ['* * * * * * *', /has 7 fields/],
    ['61 * * * *', /no next time/],
    ['a b c d e', /no next time/],
    ['0 0 30 2 *', /no next time/],
    ['0 0 31 2,4 *', /no next time/],
    ['H * * * *', /random number/],
    [5, /cron is number/],
  ])('cron %j is refused with its cause and cure', (cron, message) => {
    const refusal = refusalOf({ cron });
    expect(refusal).toMatch(message);
    expect(refusal).toMatch(/^Schedule "evening": .*Use /);
  });
  test.each(['Mars/Base', '', '+02:00', null])('time zone %j is refused', (timeZone) => {
    expect(refusalOf({ timeZone: timeZone ?? (7 as never) })).toMatch(/timeZone .* is not known/);
  });
  test('a schedule without a command function is refused', () => {
    expect(refusalOf({ command: 'Light' })).toMatch(/`command` is string/);
  });
});

describe('times of a schedule', () => {
  test('follow the time zone over both clock changes', () => {
    expect(times('30 8 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', 2)).toEqual([
      '2026-03-29T06:30:00.000Z',
      '2026-03-30T06:30:00.000Z',
    ]);
    expect(times('30 8 * * *', 'Europe/Berlin', '2026-10-24T00:00:00Z', 2)).toEqual([
      '2026-10-24T06:30:00.000Z',
      '2026-10-25T07:30:00.000Z',
    ]);
  });
  test('an hour that is left out comes an hour later, one that is repeated comes once', () => {
    expect(times('30 2 * * *', 'Europe/Berlin', '2026-03-29T00:00:00Z', 2)).toEqual([
      '2026-03-29T01:30:00.000Z',
      '2026-03-30T00:30:00.000Z',
    ]);
    expect(times('30 2 * * *', 'Europe/Berlin', '2026-10-24T23:00:00Z', 2)).toEqual([
      '2026-10-25T00:30:00.000Z',
      '2026-10-26T01:30:00.000Z',
    ]);
  });
  test('six fields count seconds', () => {
    expect(times('*/20 * * * * *', 'UTC', '2026-01-01T00:00:00Z', 3)).toEqual([
      '2026-01-01T00:00:20.000Z',
      '2026-01-01T00:00:40.000Z',
      '2026-01-01T00:01:00.000Z',
    ]);
  });
});
