import { existsSync, readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse, validate } from 'graphql';
import { describe, expect, test } from 'vitest';
import app from '../../examples/bank/app.ts';
import { errorTable } from '../../src/errors.ts';
import { environmentSchema } from '../../src/settings.ts';

/** What a reader of the docs copies or follows. */
const folder = async (path: string): Promise<string[]> =>
  (await readdir(path)).filter((name) => name.endsWith('.md')).map((name) => join(path, name));
const cli = (
  await Promise.all((await readdir('src/cli')).map((name) => readFile(join('src/cli', name), 'utf8')))
).join();
const pages = [
  ...['README.md', 'CHANGELOG.md', 'bench/RESULTS.md', 'test/acceptance/README.md'],
  ...(await folder('test/faults')),
  ...(await folder('docs')),
  ...(await folder('docs/decisions')),
];

describe.each(pages)('%s', async (page) => {
  const text = await readFile(page, 'utf8');

  test('names files that are there', () => {
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, target = '']) => target);
    expect(links.filter((target) => !existsSync(join(dirname(page), target)))).toEqual([]);
    const tests = [...text.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, name = '']) => name);
    const places = (name: string): string[] => [name, join('test/flow', name), join(dirname(page), name)];
    expect(tests.filter((name) => !places(name).some(existsSync))).toEqual([]);
  });
  test('names commands and options that there are', () => {
    const named = [...text.matchAll(/`millrace ([a-z][^`]*)`/g)].map(([, words = '']) => words.split(' '));
    const commands = named.map(([command = '']) => command);
    expect(commands.filter((command) => !new RegExp(`\\.command\\('${command}[ ']`).test(cli))).toEqual([]);
    const options = named.flat().filter((word) => word.startsWith('--'));
    expect(options.filter((option) => !cli.includes(`'${option}`))).toEqual([]);
    const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
    for (const [, script = ''] of text.matchAll(/npm run ([\w:]+)/g)) expect(Object.keys(scripts)).toContain(script);
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

test('docs/architecture.md names every collection', async () => {
  const text = await readFile('docs/architecture.md', 'utf8');
  const names = await readdir('src/store');
  const code = (await Promise.all(names.map((name) => readFile(join('src/store', name), 'utf8')))).join();
  const used = [...code.matchAll(/(?:collection(?:<[^>]*>)?\(|COLLECTION = )'([a-z_]+)'/g)].map(([, name]) => name);
  expect(used.length).toBeGreaterThan(20);
  expect(used.filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
});

test('samples of the docs are those that are compiled', async () => {
  // As the formatter would not write them.
  const plain = (code: string): string =>
    code
      .replace(/^import .*$/gm, '')
      .replace(/\s+/g, '')
      .replace(/,(?=[)\]}])/g, '');
  const compiled = plain(await readFile('test/types/docs-as-written.ts', 'utf8'));
  const texts = await Promise.all((await folder('docs')).map((page) => readFile(page, 'utf8')));
  const samples = texts.flatMap((text) => [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code = '']) => code));
  expect(samples.length).toBeGreaterThan(3);
  expect(samples.filter((code) => !compiled.includes(plain(code)))).toEqual([]);
});

test('every error that a client may see is explained, and no other name of one is in a table', async () => {
  const [graphql, failures] = await Promise.all(
    ['docs/graphql.md', 'docs/failures.md'].map((page) => readFile(page, 'utf8')),
  );
  const exposed = Object.entries(errorTable).flatMap(([code, { exposed }]) => (exposed ? [code] : []));
  expect(exposed.filter((code) => !`${graphql}${failures}`.includes(`\`${code}\``))).toEqual([]);
  const tables = [...`${graphql}${failures}`.matchAll(/^\| code \| means .*\n((?:\|.*\n)+)/gm)].map(
    ([, rows = '']) => rows,
  );
  expect(tables).toHaveLength(2);
  const named = tables.flatMap((rows) => [...rows.matchAll(/^\| (.*?) \|/gm)].map(([, cell = '']) => cell)).join();
  const codes = [...named.matchAll(/`([A-Z][A-Z_]+)`/g)].map(([, code = '']) => code);
  expect(codes.filter((code) => !Object.hasOwn(errorTable, code))).toEqual([]);
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
