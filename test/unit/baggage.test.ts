import { describe, expect, test } from 'vitest';
import { BAGGAGE_MAX_LENGTH, baggageOf, baggageProblem, moreBaggage } from '../../src/define/baggage.ts';

describe('baggage of the caller', () => {
  test.each(['tenant=eu', 'a=1,b=2', 'user=J%C3%B6rg;ttl=1 , x=', "k!#$%&'*+-.^_`|~=v"])('%s is taken', (text) => {
    expect(baggageProblem(text)).toBeUndefined();
  });
  test.each([
    '',
    'novalue',
    '=1',
    'a=b,,c=d',
    'a b=1',
    'a="quoted"',
    'a=1\nb',
    'ä=1',
    `a=${'x'.repeat(BAGGAGE_MAX_LENGTH)}`,
    7,
    null,
  ])('%s is refused with its reason', (text) => {
    expect(baggageProblem(text)).toMatch(/^must /);
  });
  test('is read by key, decoded; names like those of objects are keys like any other', () => {
    const members = baggageOf({ baggage: 'user=J%C3%B6rg;ttl=1, __proto__=x ,bad=%zz,user=last' });
    expect([...members]).toEqual([
      ['user', 'last'],
      ['__proto__', 'x'],
      ['bad', '%zz'],
    ]);
    expect(baggageOf({}).size).toBe(0);
  });
  test('grows by members that are not there yet, as long as there is room', () => {
    expect(moreBaggage(undefined, [['build', '1.2 b']])).toBe('build=1.2%20b');
    expect(
      moreBaggage('a=1', [
        ['a', '2'],
        ['b', '3'],
        ['no key', 'x'],
        ['long', 'x'.repeat(2_000)],
      ]),
    ).toBe('a=1,b=3');
    expect(moreBaggage(undefined, [])).toBeUndefined();
  });
});
