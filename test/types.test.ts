import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/*
 * test/types/mistakes.ts must not compile: `npm run typecheck` proves that each mistake is one. Here they are compiled
 * without the directives, to see what an author reads.
 */
const root = join(import.meta.dirname, '..');
const source = await readFile(join(root, 'test/types/mistakes.ts'), 'utf8');

interface Mistake {
  readonly title: string;
  readonly expected: string;
  /** Lines of the file that belong to it, from 1. */
  readonly from: number;
  readonly to: number;
}
const lines = source.split('\n');
const marks = lines.flatMap((line, index) => {
  const [, title, expected] = /@ts-expect-error (.*) → (.*)$/.exec(line) ?? [];
  return title === undefined || expected === undefined ? [] : [{ title, expected, from: index + 1 }];
});
const mistakes: readonly Mistake[] = marks.map((mark, index) => ({
  ...mark,
  to: (marks[index + 1]?.from ?? lines.length + 1) - 1,
}));

let folder: string;
let errors: readonly { readonly line: number; readonly message: string }[];

beforeAll(async () => {
  // Inside the package, so that `millrace` is this package by its own name.
  await mkdir(join(root, '.millrace'), { recursive: true });
  folder = await mkdtemp(join(root, '.millrace', 'types-'));
  await writeFile(join(folder, 'mistakes.ts'), source.replaceAll('@ts-expect-error', 'a mistake:'));
  const config = { extends: '../../tsconfig.json', include: [], files: ['mistakes.ts'] };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const output = await tsc(folder);
  errors = output.split(/\n(?=\S)/).flatMap((text) => {
    const [, line, message] = /^.*mistakes\.ts\((\d+),\d+\): error (TS\d+: .*)$/s.exec(text) ?? [];
    return line === undefined || message === undefined ? [] : [{ line: Number(line), message }];
  });
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** What the compiler prints; it fails here, as it should. */
async function tsc(project: string): Promise<string> {
  const args = [join(root, 'node_modules/typescript/bin/tsc'), '-p', project, '--pretty', 'false'];
  try {
    return (await promisify(execFile)(process.execPath, args)).stdout;
  } catch (error) {
    if (error instanceof Error && 'stdout' in error && typeof error.stdout === 'string') return error.stdout;
    throw error;
  }
}

describe('an author who errs', () => {
  test('errs in every marked place', () => {
    expect(mistakes.length).toBe(source.match(/@ts-expect-error/g)?.length);
    expect(mistakes.length).toBeGreaterThan(35);
  });
  test.each(mistakes)('$title: reads a short error that names it', ({ expected, from, to }) => {
    const [first] = errors.filter(({ line }) => line >= from && line <= to);
    expect(first?.message).toContain(expected);
    expect(first?.message.length).toBeLessThan(800);
    expect(first?.message.split('\n').length).toBeLessThan(6);
  });
});
