import { describe, expect, it } from 'vitest';
import {
  decodeEventCursor,
  decodeListCursor,
  decodeViewCursor,
  documentScope,
  encodeEventCursor,
  encodeListCursor,
  encodeViewCursor,
} from '../../src/engine/views/cursor.ts';
import { isMillraceError } from '../../src/errors.ts';

const raw = (fields: unknown): string => Buffer.from(JSON.stringify(fields)).toString('base64url');
const codeOf = (work: () => unknown): string => {
  try {
    return `no error: ${JSON.stringify(work())}`;
  } catch (error) {
    return isMillraceError(error) ? error.code : `not a MillraceError: ${String(error)}`;
  }
};
const build = { view: 'account', generation: 2 };
const decoders = {
  view: (text: unknown) => decodeViewCursor(text),
  event: (text: unknown) => decodeEventCursor(text, 'main'),
  list: (text: unknown) => decodeListCursor(text, 'main', build, '+_id', 1),
};
const all = Object.values(decoders);
const viewCursor = {
  logId: 'main',
  ...build,
  builtAtMs: 1_700_000_000_123,
  issuedAtS: 1_700_000_000,
  revisions: [1, 0, 7],
  scope: documentScope('a'),
};
const issued = {
  view: encodeViewCursor(viewCursor),
  event: encodeEventCursor('main', 41),
  list: encodeListCursor('main', build, { order: '+_id', key: ['a'] }),
};

describe('a cursor', () => {
  it('comes back as it was issued', () => {
    expect(decoders.view(issued.view)).toEqual(viewCursor);
    expect(decoders.event(issued.event)).toBe(41);
    const key = [1.5, 'é🙂 $gt', null, true, new Date(5), Number.NaN, Number.NEGATIVE_INFINITY, 'id'];
    const text = encodeListCursor('main', build, { order: 'x', key });
    expect(decodeListCursor(text, 'main', build, 'x', key.length)).toEqual(key);
  });

  it('of events or of a list is refused with BAD_CURSOR by another log', () => {
    expect(codeOf(() => decodeEventCursor(issued.event, 'other'))).toBe('BAD_CURSOR');
    expect(codeOf(() => decodeListCursor(issued.list, 'other', build, '+_id', 1))).toBe('BAD_CURSOR');
  });

  it('is refused with BAD_CURSOR where another kind is expected', () => {
    for (const [kind, text] of Object.entries(issued)) {
      for (const [other, decode] of Object.entries(decoders)) {
        if (other !== kind) expect(codeOf(() => decode(text))).toBe('BAD_CURSOR');
      }
    }
  });

  it('of a list is refused with BAD_CURSOR by another view, generation or sort', () => {
    expect(codeOf(() => decodeListCursor(issued.list, 'main', { ...build, view: 'other' }, '+_id', 1))).toBe(
      'BAD_CURSOR',
    );
    expect(codeOf(() => decodeListCursor(issued.list, 'main', { ...build, generation: 3 }, '+_id', 1))).toBe(
      'BAD_CURSOR',
    );
    expect(codeOf(() => decodeListCursor(issued.list, 'main', build, '-balance,-_id', 2))).toBe('BAD_CURSOR');
  });

  it('is refused with BAD_CURSOR wherever it is cut, and with anything added', () => {
    for (const [kind, decode] of Object.entries(decoders)) {
      const text = issued[kind as keyof typeof issued];
      for (let length = 0; length < text.length; length++) {
        expect(codeOf(() => decode(text.slice(0, length)))).toBe('BAD_CURSOR');
      }
      for (const added of ['=', 'A', ' ', '\u0000']) expect(codeOf(() => decode(text + added))).toBe('BAD_CURSOR');
    }
  });

  it('is refused with BAD_CURSOR when a field is forged', () => {
    const forged: unknown[] = [
      undefined,
      null,
      3,
      {},
      { $gt: '' },
      ['x'],
      raw(null),
      raw({}),
      raw([]),
      raw([1]),
      raw([2, 'e', 'main', 1]),
      raw([1, 'e', 'main', { $gt: 0 }]),
      raw([1, 'e', 'main', -1]),
      raw([1, 'e', 'main', 1.5]),
      raw([1, 'e', 'main', '1']),
      raw([1, 'e', 'main', 1e300]),
      raw([1, 'e', 'main', null]),
      raw([1, 'e', 'main', 1, 2]),
      raw([1, 'e', { $ne: null }, 1]),
      raw([1, 'v', 'main', 'account', 1, { $gt: 0 }]),
      raw([1, 'v', 'main', { $ne: 1 }, 1]),
      raw([1, 'v', 'main', 'account', -1]),
      raw([1, 'v', 'main', 'account', 2, 9, 5, 1]),
      `${raw([1, 'v', 'main', 'account', 2, 9, -5, 1])}.daaaaaaaaaaaa`,
      `${raw([1, 'v', 'main', 'account', 2, 9, 5, { $gt: 0 }])}.daaaaaaaaaaaa`,
      `${raw([1, 'v', 'main', 'account', 2, 9, 5, 1])}.xaaaaaaaaaaaa`,
      `${raw([1, 'v', 'main', 'account', 2, 9, 5, 1])}.daaaaaaaaaaaa.daaaaaaaaaaaa`,
      raw([1, 'l', 'main', 'account', 2, '+_id', { $gt: '' }]),
      raw([1, 'l', 'main', 'account', 2, '+_id', ['$where', 'x']]),
      raw([1, 'l', 'main', 'account', 2, '+_id', ['date', 'x']]),
      raw([1, 'l', 'main', 'account', 2, '+_id', ['date', 1e20]]),
      raw([1, 'l', 'main', 'account', 2, '+_id', 5]),
      raw([1, 'l', 'main', 'account', 2, '+_id', '']),
      raw([1, 'l', 'main', 'account', 2, '+_id']),
      raw([1, 'l', 'main', 'account', 2, '+_id', 'a', 'b']),
      raw(JSON.parse(`${'['.repeat(3_000)}${']'.repeat(3_000)}`)),
      'A'.repeat(10_000_000),
      Buffer.from('['.repeat(40_000)).toString('base64url'),
      '__proto__',
    ];
    for (const text of forged) {
      for (const decode of all) expect([text, codeOf(() => decode(text))]).toEqual([text, 'BAD_CURSOR']);
    }
  });
});
