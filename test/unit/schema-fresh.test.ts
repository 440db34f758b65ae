import { readFile } from 'node:fs/promises';
import { printSchema } from 'graphql';
import { expect, test } from 'vitest';
import app from '../../examples/bank/app.ts';

test('schema.graphql is the schema of the platform with the bank example; `npm run schema` renews it', async () => {
  expect(app.schema).toBeDefined();
  expect(`${printSchema(app.schema!)}\n`).toBe(await readFile('schema.graphql', 'utf8'));
});
