import type { IncomingMessage } from 'node:http';
import { expect, test } from 'vitest';
import { originCheck } from '../../src/gateway/origins.ts';

const judge = (check: ReturnType<typeof originCheck>, headers: IncomingMessage['headers']): string =>
  check({ headers } as IncomingMessage);

test.each([
  ['no Origin at all', undefined, 'localhost:4000', 'none'],
  ['its own', 'http://localhost:4000', 'localhost:4000', 'own'],
  ['a listed one', 'https://shop.example', 'localhost:4000', 'allowed'],
  ['another port', 'http://localhost:4001', 'localhost:4000', 'refused'],
  ['another site', 'https://evil.example', 'localhost:4000', 'refused'],
  ['a listed one as a prefix', 'https://shop.example.evil.example', 'localhost:4000', 'refused'],
  ['an opaque one', 'null', 'localhost:4000', 'refused'],
  ['nonsense', '%%%', 'localhost:4000', 'refused'],
  ['a name rebound to this machine', 'http://evil.example:4000', 'evil.example:4000', 'refused'],
])('on loopback, %s', (_what, origin, host, expected) => {
  expect(judge(originCheck(['https://shop.example'], '127.0.0.1'), { ...(origin && { origin }), host })).toBe(expected);
});

test('behind a name, its own origin is the one that Host names', () => {
  const check = originCheck([], '0.0.0.0');
  expect(judge(check, { origin: 'https://api.example', host: 'api.example' })).toBe('own');
  expect(judge(check, { origin: 'https://evil.example', host: 'api.example' })).toBe('refused');
});
