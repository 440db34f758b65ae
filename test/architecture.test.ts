import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Import, importsOf } from './setup/imports-of.ts';

/*
 * The house, as data: which room may import what, and why. The table of docs/architecture.md in full.
 */

interface Room {
  /** A folder, ending in `/`, or a file. The first room that fits a file is its own. */
  readonly path: string;
  /** Rooms by path, packages by name (`@scope/*` for a scope), `node:*` for what comes with Node.js. */
  readonly may: readonly string[];
  /** The same, for `import type` only. */
  readonly mayType?: readonly string[];
  readonly because: string;
}

const node = 'node:*';
const surroundings = ['src/logger.ts', 'src/settings.ts'];
const composition = 'it puts the rooms together and holds no rule of its own';

const engine = [
  'src/define/',
  'src/store/',
  'src/queue/',
  'src/errors.ts',
  'src/crash-points.ts',
  'cockatiel',
  'lru-cache',
  'uuidv7',
  'cron-parser',
  node,
];
/**
 * The rooms of the engine, which decides what happens through store and queue, speaks to no database itself and knows no GraphQL: by
 * name, and why each stands where it stands. It may import those above it, and no other.
 */
const engineRooms: readonly (readonly [name: string, because: string])[] = [
  ['concurrency', 'turns, streams, leases and clocks do not know what takes them'],
  ['contract', 'what a runtime promises does not know how it is kept'],
  ['log', 'every part reads the log, so it knows no part'],
  ['sequencing', 'events get their positions whoever reads them'],
  ['views', 'a view, its cursors and how far it is are the same for a query and for a subscription'],
  ['reads', 'a read asks the views and the log, and nobody who writes'],
  ['subscriptions', 'a subscription is a read that goes on'],
  ['audit', 'who did what is written down in one way, whatever was done'],
  ['commands', 'a command is decided and appended without knowing who will hear of it'],
  ['partitions', 'a partition takes its events in order and writes what came of them, whoever drives it'],
  ['observers', 'an observer is a partition whose events take their time'],
  ['timers', 'a timer sends a command when it is due, whoever set it'],
  ['sagas', 'a saga is a handler of partitions that sends commands and sets timers'],
  ['processes', 'who lives is found out the same way whatever the processes do'],
  ['delivery', 'it drives partitions, observers and sagas, and none of them knows it'],
  ['sweep', 'it finds what delivery and the queues lost'],
  ['operators', 'operators steer what runs, and nothing that runs knows them'],
  ['rebuild', 'a rebuild is steered by operators and done by delivery'],
  ['flow', 'the picture of a chain is read from the log, by nobody but who asks for it'],
];

const rooms: readonly Room[] = [
  { path: 'src/errors.ts', may: [], because: 'every room knows the errors, so they know no room' },
  {
    path: 'src/crash-points.ts',
    may: ['src/errors.ts'],
    because: 'every part of a process may die, so every room may name where',
  },
  {
    path: 'src/logger.ts',
    may: ['pino'],
    because: 'the logger knows how to write lines and nothing of what is in them',
  },
  {
    path: 'src/settings.ts',
    may: ['src/errors.ts', 'src/crash-points.ts', 'zod'],
    because: 'settings are parsed once and handed around as a value',
  },
  {
    path: 'src/define-app.ts',
    may: [],
    mayType: ['src/define/', 'graphql'],
    because: 'an app file is a value: modules and a schema',
  },
  {
    path: 'src/index.ts',
    may: ['src/define/', 'src/errors.ts', 'src/observers/', 'src/settings.ts', 'src/define-app.ts', 'src/start.ts'],
    mayType: [
      'src/engine/contract/runtime.ts',
      'src/engine/contract/past.ts',
      'src/engine/contract/timers.ts',
      'src/logger.ts',
    ],
    because: 'the door for authors shows definitions, errors and how to start; what is behind it may change',
  },
  {
    path: 'src/start.ts',
    may: ['src/', 'workers/'],
    mayType: ['graphql'],
    because: composition,
  },
  {
    path: 'src/define/',
    may: ['src/errors.ts'],
    mayType: ['@standard-schema/spec'],
    because: 'definitions are pure values: no clock, no random, no I/O, no library for schemas but the author’s own',
  },
  {
    path: 'src/store/',
    may: ['src/define/', 'src/errors.ts', 'src/crash-points.ts', 'mongodb', node],
    mayType: surroundings,
    because: 'the store is the one place that knows MongoDB, and MongoDB is all it knows',
  },
  {
    path: 'src/queue/',
    may: ['src/define/', 'src/errors.ts', 'bullmq', 'ioredis', node],
    mayType: surroundings,
    because: 'the queue is the one place that knows Redis, and Redis is all it knows',
  },
  ...engineRooms.map(([name, because], place) => ({
    path: `src/engine/${name}/`,
    may: [...engine, ...engineRooms.slice(0, place).map(([above]) => `src/engine/${above}/`)],
    mayType: surroundings,
    because,
  })),
  ...['create-reads.ts', 'create-operators.ts'].map((name) => ({
    path: `src/engine/${name}`,
    may: [...engine, 'src/engine/'],
    mayType: surroundings,
    because: composition,
  })),
  {
    path: 'src/observers/',
    may: ['src/define/', 'src/errors.ts', 'standardwebhooks', node],
    because: 'an observer that comes with Millrace is written as an author would: on definitions, knowing no engine',
  },
  {
    path: 'src/gateway/',
    may: [
      'src/engine/',
      'src/errors.ts',
      'graphql',
      'graphql-yoga',
      'graphql-ws',
      'ws',
      '@graphql-yoga/*',
      '@escape.tech/graphql-armor',
      'lru-cache',
      node,
    ],
    mayType: [...surroundings, 'src/define/'],
    because: 'the gateway serves a schema over HTTP and sockets; what a command or a view is, the engine knows',
  },
  {
    path: 'src/testing/',
    may: ['src/define/', 'src/errors.ts'],
    because: 'specs run by themselves: no store, no clock, no I/O',
  },
  {
    path: 'src/client/',
    may: ['graphql-ws', 'eventsource-parser', 'graphql'],
    because: 'the client runs in browsers: no Node.js, no server, and of graphql what reads and prints a document',
  },
  {
    path: 'src/react/',
    may: ['src/client/', 'react'],
    because: 'the hooks are the client’s states as React takes them',
  },
  {
    path: 'src/services/',
    may: ['src/errors.ts', 'mongodb', 'mongodb-memory-server-core', 'redis-memory-server', 'cli-progress', node],
    because: 'embedded servers are for development and tests; nothing that runs in production may need them',
  },
  {
    path: 'src/cli/',
    may: ['src/', 'resolvers/index.ts', 'commander', node],
    mayType: ['graphql'],
    because: composition,
  },
  { path: 'workers/', may: ['src/', node], because: composition },
  {
    path: 'resolvers/',
    may: ['src/index.ts', '@pothos/*', 'graphql'],
    mayType: ['src/gateway/context.ts'],
    because: 'resolvers see what authors see: another face could be written beside them',
  },
  {
    path: 'examples/',
    may: [
      'millrace',
      'millrace/graphql',
      'millrace/testing',
      'millrace/client',
      'millrace/react',
      'react',
      'react-dom',
      'gql.tada',
      '@gql.tada/internal',
      'graphql',
      'vite',
      'zod',
      'valibot',
      '@valibot/to-json-schema',
      'graphql-ws',
      'ws',
      'vitest',
      node,
    ],
    because: 'an example imports millrace as its users do',
  },
  {
    path: 'bench/baselines/',
    may: ['*', 'bench/', 'src/gateway/', 'src/logger.ts'],
    because:
      'a baseline is written with the same packages by hand; the empty server runs with the gateway’s own options',
  },
  { path: 'bench/', may: ['*', 'examples/'], because: 'a benchmark measures millrace as its users have it' },
];

const folders = ['src', 'resolvers', 'workers', 'examples', 'bench'];
const root = join(import.meta.dirname, '..');
const files = folders.flatMap(filesIn).sort();

/** Declarations are made by generators, and are in no repository. */
function isMade(path: string): boolean {
  return path.endsWith('.d.ts');
}

function filesIn(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : filesIn(path);
    return /\.m?[jt]sx?$/.test(entry.name) && !isMade(entry.name) ? [path] : [];
  });
}

/** A path in this repository, or the name of a package (with `/` and what follows for `millrace`). */
function targetOf(file: string, specifier: string): string {
  if (specifier.startsWith('.')) return relative(root, join(root, dirname(file), specifier)).replaceAll('\\', '/');
  if (specifier.startsWith('node:') || specifier.startsWith('millrace')) return specifier;
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

function fits(target: string, pattern: string, isPackage: boolean): boolean {
  if (pattern === '*') return isPackage;
  if (pattern.endsWith('*')) return isPackage && target.startsWith(pattern.slice(0, -1));
  if (pattern.endsWith('/')) return !isPackage && target.startsWith(pattern);
  return target === pattern;
}

/** Why `file` may not import this, or undefined when it may. */
function refusal(file: string, { specifier, typeOnly }: Import): string | undefined {
  const room = rooms.find(({ path }) => (path.endsWith('/') ? file.startsWith(path) : file === path));
  if (room === undefined)
    return `${file} is in no room. Put it into one, or give it a row in test/architecture.test.ts.`;
  const target = targetOf(file, specifier);
  const isPackage = !specifier.startsWith('.');
  const own = room.path.endsWith('/') && !isPackage && target.startsWith(room.path);
  const allowed = typeOnly ? [...room.may, ...(room.mayType ?? [])] : room.may;
  if (own || allowed.some((pattern) => fits(target, pattern, isPackage))) return undefined;
  const cure = room.mayType?.some((pattern) => fits(target, pattern, isPackage)) ? ' Its types may be imported.' : '';
  return `${file} imports ${target}, and ${room.path} may not: ${room.because}.${cure}`;
}

const refusals = (file: string): string[] =>
  importsOf(readFileSync(join(root, file), 'utf8')).flatMap((one) => refusal(file, one) ?? []);

describe('the house', () => {
  test('has files to look at', () => {
    expect(files.length).toBeGreaterThan(60);
    for (const folder of folders) expect(files.some((file) => file.startsWith(`${folder}/`))).toBe(true);
  });
  test('every import is one that its room may have', () => {
    expect(files.flatMap(refusals)).toEqual([]);
  });
  test('relative imports name a file that there is, in full', () => {
    const wrong = files.flatMap((file) =>
      importsOf(readFileSync(join(root, file), 'utf8'))
        .filter(({ specifier }) => specifier.startsWith('.') && !isMade(specifier))
        .filter(({ specifier }) => !files.includes(targetOf(file, specifier)))
        .map(({ specifier }) => `${file} imports ${specifier}, which is no file of these rooms`),
    );
    expect(wrong).toEqual([]);
  });
  test('rooms are named by what they are for', () => {
    const kinds = /\/(utils?|helpers?|classes|interfaces|types|common|shared|misc|lib)(\/|\.)/;
    const wrong = files
      .filter((file) => kinds.test(file) && !file.startsWith('bench/lib/'))
      .map((file) => `${file}: a room or file by kind of code. Name it by its purpose.`);
    expect(wrong).toEqual([]);
  });
  test('signals are joined by anySignal', () => {
    const wrong = files
      .filter((file) => readFileSync(join(root, file), 'utf8').includes('AbortSignal.any('))
      .map(
        (file) =>
          `${file}: Node 20 keeps what AbortSignal.any makes as long as its sources live. Use anySignal, and end it.`,
      );
    expect(wrong).toEqual([]);
  });
  test('no file is longer than 350 lines', () => {
    const long = files
      .map((file) => ({ file, lineCount: readFileSync(join(root, file), 'utf8').split('\n').length - 1 }))
      .filter(({ lineCount }) => lineCount > 350)
      .map(({ file, lineCount }) => `${file} has ${lineCount} lines. Look for the second idea inside.`);
    expect(long).toEqual([]);
  });
});

describe('the table refuses', () => {
  const value = (specifier: string): Import => ({ specifier, typeOnly: false });
  const type = (specifier: string): Import => ({ specifier, typeOnly: true });

  test.each([
    ['src/engine/log/x.ts', value('mongodb'), /imports mongodb/],
    ['src/engine/log/x.ts', type('ioredis'), /imports ioredis/],
    ['src/engine/create-reads.ts', value('../gateway/server.ts'), /imports src\/gateway\/server.ts/],
    ['src/engine/strays/x.ts', value('node:crypto'), /is in no room/],
    ['src/engine/log/x.ts', value('../delivery/y.ts'), /src\/engine\/log\/ may not: every part reads the log/],
    ['src/engine/partitions/x.ts', type('../operators/y.ts'), /imports src\/engine\/operators\/y.ts/],
    ['src/engine/contract/x.ts', value('../create-reads.ts'), /imports src\/engine\/create-reads.ts/],
    ['src/define/x.ts', value('node:crypto'), /no clock, no random, no I\/O/],
    ['src/define/x.ts', value('@standard-schema/spec'), /Its types may be imported/],
    ['src/store/x.ts', value('../logger.ts'), /Its types may be imported/],
    ['src/store/x.ts', value('../engine/y.ts'), /MongoDB is all it knows/],
    ['src/testing/x.ts', value('../store/y.ts'), /specs run by themselves/],
    ['src/client/x.ts', value('node:crypto'), /the client runs in browsers/],
    ['src/client/x.ts', type('../errors.ts'), /the client runs in browsers/],
    ['resolvers/x.ts', value('../src/define/event.ts'), /resolvers see what authors see/],
    ['resolvers/x.ts', value('../src/gateway/context.ts'), /Its types may be imported/],
    ['examples/bank/x.ts', value('../../src/index.ts'), /imports millrace as its users do/],
    ['bench/x.ts', value('../src/index.ts'), /as its users have it/],
    ['src/strays/x.ts', value('zod'), /is in no room/],
    ['src/errors.ts', type('pino'), /they know no room/],
  ])('%s importing %o', (file, one, reason) => {
    expect(refusal(file, one)).toMatch(reason);
  });
  test.each([
    ['src/engine/log/x.ts', value('./y.ts')],
    ['src/engine/create-reads.ts', value('./delivery/y.ts')],
    ['src/engine/delivery/x.ts', value('../log/y.ts')],
    ['src/gateway/plugins/x.ts', value('../limits.ts')],
    ['src/engine/log/x.ts', type('../../logger.ts')],
    ['src/store/x.ts', value('mongodb')],
    ['resolvers/x.ts', type('../src/gateway/context.ts')],
    ['resolvers/x.ts', value('@pothos/core')],
    ['src/gateway/x.ts', value('graphql-ws/use/ws')],
    ['examples/bank/x.ts', value('millrace/testing')],
  ])('but not %s importing %o', (file, one) => {
    expect(refusal(file, one)).toBeUndefined();
  });
});

test('imports are found however they are written', () => {
  const source = `
// import 'comment';
/* import 'block'; */
/**
 * import 'doc';
 */
import a from 'default';
import * as all from "star";
import { b, type C } from 'mixed';
import { type D, type E as F } from 'inline-types';
import type { G } from 'type';
import type H from 'type-default';
import {
  i,
  // a comment's quote
  j,
} from 'many-lines';
import 'side-effect'; import k from 'same-line';
export { l } from 'export';
export * from 'export-star';
export type { M } from 'export-type';
export const n = 'not-this', from = 'nor-this';
const o = await import('dynamic');
type P = import('import-type').P;
const q = Array.from('nor-that');
const url = 'https://example.org/import';
const text = "import 'inside'";
`;
  const found = importsOf(source).map(({ specifier, typeOnly }) => `${typeOnly ? 'type ' : ''}${specifier}`);
  expect(found).toEqual([
    'default',
    'star',
    'mixed',
    'type inline-types',
    'type type',
    'type type-default',
    'many-lines',
    'side-effect',
    'same-line',
    'export',
    'export-star',
    'type export-type',
    'dynamic',
    'import-type',
  ]);
});
