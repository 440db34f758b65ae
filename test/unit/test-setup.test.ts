import { createRequire } from 'node:module';
import { GraphQLSchema } from 'graphql';
import { createSchema } from 'graphql-yoga';
import * as byName from 'millrace';
import { expect, test } from 'vitest';
import * as bySource from '../../src/index.ts';
import { testServers } from '../setup/servers.ts';

test('tests, resolvers and packages share one copy of graphql', () => {
  const require = createRequire(import.meta.url);
  expect(require('graphql').GraphQLSchema).toBe(GraphQLSchema);
  expect(createSchema({ typeDefs: 'type Query { a: Int }' })).toBeInstanceOf(GraphQLSchema);
});

test('"millrace" in tests and examples is this source tree', () => {
  expect(byName).toBe(bySource);
});

test('each call for test servers names a database and a prefix of its own', () => {
  const [first, second] = [testServers(), testServers()];
  expect(first.mongoUrl).toBe(second.mongoUrl);
  expect(first.database).not.toBe(second.database);
  expect(first.prefix).toMatch(/^[A-Za-z0-9_-]{1,38}$/);
});
