import { describe, expect, it } from 'vitest';
import { streamKey } from '../../src/define/stream-key.ts';
import { decodeToken, encodeToken, type Token } from '../../src/engine/log/token.ts';
import { isMillraceError } from '../../src/errors.ts';
import { environmentSchema } from '../../src/settings.ts';

const token: Token = {
  logId: 'main',
  stream: streamKey({ tenant: 'default', aggregate: 'account', id: 'a/1 %2F ü 🙂 $ne . : __proto__' }),
  commandId: 'c-1',
  firstVersion: 3,
  eventCount: 2,
};
const raw = (fields: unknown): string => Buffer.from(JSON.stringify(fields)).toString('base64url');
const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return isMillraceError(error) ? error.code : `not a MillraceError: ${String(error)}`;
  }
  return 'no error';
};

describe('a receipt token', () => {
  it('comes back as it was issued, with events and without', () => {
    expect(decodeToken(encodeToken(token), 'main')).toEqual(token);
    const empty = { ...token, firstVersion: null, eventCount: 0 };
    expect(decodeToken(encodeToken(empty), 'main')).toEqual(empty);
    const { maxValue: most } = environmentSchema.shape.COMMIT_MAX_EVENTS.unwrap();
    const large = { ...token, eventCount: most ?? Number.NaN };
    expect(decodeToken(encodeToken(large), 'main')).toEqual(large);
  });

  it('is refused with BAD_TOKEN by another log', () => {
    expect(codeOf(() => decodeToken(encodeToken(token), 'other'))).toBe('BAD_TOKEN');
  });

  it('is refused with BAD_TOKEN wherever it is cut, and with anything added', () => {
    const text = encodeToken(token);
    for (let length = 0; length < text.length; length++) {
      expect(codeOf(() => decodeToken(text.slice(0, length), 'main'))).toBe('BAD_TOKEN');
    }
    for (const added of ['=', 'A', ' ', '\n', '\u0000']) {
      expect(codeOf(() => decodeToken(text + added, 'main'))).toBe('BAD_TOKEN');
    }
  });

  it('is refused with BAD_TOKEN when a field is forged', () => {
    const { stream } = token;
    const forged: unknown[] = [
      undefined,
      null,
      7,
      {},
      [],
      { $ne: null },
      raw(null),
      raw({ 0: 1, length: 6 }),
      raw([2, 'main', stream, 'c', 1, 1]),
      raw(['1', 'main', stream, 'c', 1, 1]),
      raw([1, { $ne: null }, stream, 'c', 1, 1]),
      raw([1, 'main', { $gt: '' }, 'c', 1, 1]),
      raw([1, 'main', ['x'], 'c', 1, 1]),
      raw([1, 'main', 'no-stream', 'c', 1, 1]),
      raw([1, 'main', 'a/b/c/d', 'c', 1, 1]),
      raw([1, 'main', 'a/b/\u0000', 'c', 1, 1]),
      raw([1, 'main', `a/b/${'x'.repeat(10_000)}`, 'c', 1, 1]),
      raw([1, 'main', stream, { $regex: '.*' }, 1, 1]),
      raw([1, 'main', stream, '', 1, 1]),
      raw([1, 'main', stream, 'c', { $gt: 0 }, 1]),
      raw([1, 'main', stream, 'c', '1', 1]),
      raw([1, 'main', stream, 'c', 0, 1]),
      raw([1, 'main', stream, 'c', -1, 1]),
      raw([1, 'main', stream, 'c', 1.5, 1]),
      raw([1, 'main', stream, 'c', 1e300, 1]),
      raw([1, 'main', stream, 'c', 1, 0]),
      raw([1, 'main', stream, 'c', null, 1]),
      raw([1, 'main', stream, 'c', 1, -1]),
      raw([1, 'main', stream, 'c', 1, 10_001]),
      raw([1, 'main', stream, 'c', 1, Number.MAX_SAFE_INTEGER]),
      raw([1, 'main', stream, 'c', 1, 1, 1]),
      'A'.repeat(10_000_000),
      '['.repeat(5_000),
      '../../etc/passwd',
    ];
    for (const text of forged) expect([text, codeOf(() => decodeToken(text, 'main'))]).toEqual([text, 'BAD_TOKEN']);
  });
});
