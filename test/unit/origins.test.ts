import type { IncomingMessage } from 'node:http';
import { expect, test } from 'vitest';
import { originCheck } from '../../src/gateway/origins.ts';

const judge = (check: ReturnType<typeof originCheck>, headers: IncomingMessage['headers']): string => {
  const judged = check({ headers } as IncomingMessage);
  return typeof judged === 'object' ? judged.code : judged;
};

test.each([
  ['no Origin at all', undefined, 'localhost:4000', 'none'],
  ['its own', 'http://localhost:4000', 'localhost:4000', 'own'],
  ['a listed one', 'https://shop.example', 'localhost:4000', 'allowed'],
  ['another port', 'http://localhost:4001', 'localhost:4000', 'ORIGIN_NOT_ALLOWED'],
  ['another site', 'https://evil.example', 'localhost:4000', 'ORIGIN_NOT_ALLOWED'],
  ['a listed one as a prefix', 'https://shop.example.evil.example', 'localhost:4000', 'ORIGIN_NOT_ALLOWED'],
  ['an opaque one', 'null', 'localhost:4000', 'ORIGIN_NOT_ALLOWED'],
  ['nonsense', '%%%', 'localhost:4000', 'ORIGIN_NOT_ALLOWED'],
  ['a name rebound to this machine', 'http://evil.example:4000', 'evil.example:4000', 'HOST_NOT_ALLOWED'],
  ['a name rebound to this machine, without an Origin', undefined, 'evil.example:4000', 'HOST_NOT_ALLOWED'],
  ['the name of a listed origin', undefined, 'shop.example', 'none'],
  ['that name over plain HTTP', 'http://shop.example', 'shop.example', 'ORIGIN_NOT_ALLOWED'],
  ['no name at all', undefined, undefined, 'none'],
  ['a Host that is none', undefined, 'a b[', 'BAD_REQUEST'],
])('on loopback, %s', (_what, origin, host, expected) => {
  expect(
    judge(originCheck(['https://shop.example'], '127.0.0.1'), {
      ...(origin && { origin }),
      ...(host && { host }),
    }),
  ).toBe(expected);
});

test('behind a name, its own origin is the one that Host names', () => {
  const check = originCheck([], '0.0.0.0');
  expect(judge(check, { origin: 'https://api.example', host: 'api.example' })).toBe('own');
  expect(judge(check, { origin: 'https://evil.example', host: 'api.example' })).toBe('ORIGIN_NOT_ALLOWED');
});

test('behind a name, any Host is taken that is one', () => {
  for (const host of ['api.example', '10.0.0.1:4000']) expect(judge(originCheck([], '0.0.0.0'), { host })).toBe('none');
  expect(judge(originCheck([], '0.0.0.0'), { host: 'x:99999' })).toBe('BAD_REQUEST');
});
