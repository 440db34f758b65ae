import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse, validate } from 'graphql';
import { describe, expect, test } from 'vitest';
import app from '../../examples/bank/app.ts';
import { environmentSchema } from '../../src/settings.ts';

/** What a reader of the docs copies or follows. */
const folder = async (path: string): Promise<string[]> =>
  (await readdir(path)).filter((name) => name.endsWith('.md')).map((name) => join(path, name));
const pages = [
  ...['README.md', 'CHANGELOG.md', 'bench/RESULTS.md', 'test/acceptance/README.md'],
  ...(await folder('docs')),
  ...(await folder('docs/decisions')),
];

describe.each(pages)('%s', async (page) => {
  const text = await readFile(page, 'utf8');

  test('names files that are there', () => {
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, target = '']) => target);
    expect(links.filter((target) => !existsSync(join(dirname(page), target)))).toEqual([]);
  });
  test('shows GraphQL that the bank answers', () => {
    if (app.schema === undefined) throw new Error('the bank has no schema');
    for (const [, document = ''] of text.matchAll(/^```graphql\n(.*?)^```/gms)) {
      expect(validate(app.schema, parse(document))).toEqual([]);
    }
    for (const [, body = ''] of text.matchAll(/-d '(\{"query":.*?\})'/g)) {
      expect(validate(app.schema, parse(JSON.parse(body).query))).toEqual([]);
    }
  });
});

test('docs/operations.md lists every setting, with its default', async () => {
  const text = await readFile('docs/operations.md', 'utf8');
  const rows = new Map([...text.matchAll(/^\| `([A-Z_]+)` \| (.*?) \|/gm)].map(([, name, shown]) => [name, shown]));
  expect([...rows.keys()].sort()).toEqual(Object.keys(environmentSchema.shape).sort());
  const given = { MONGODB_URL: 'mongodb://localhost', REDIS_URL: 'redis://localhost' };
  for (const [name, value] of Object.entries(environmentSchema.parse(given))) {
    if (typeof value === 'number' || (typeof value === 'string' && !(name in given))) {
      expect([name, rows.get(name)]).toEqual([name, String(value)]);
    }
  }
});
