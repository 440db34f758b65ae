import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testServers } from './setup/servers.ts';
import { until } from './setup/until.ts';

/*
 * What a user does: install the tarball into an empty project, copy the module of the README, check its types, compile
 * it, start it. Packages come from npm's cache where they are in it.
 */
const root = join(import.meta.dirname, '..');
const INSTALL_MS = 600_000;
const servers = testServers();

let folder: string;
let project: string;
let packed: readonly string[];

interface Ran {
  readonly code: number;
  /** What it wrote, on both ways. */
  readonly output: string;
  readonly stdout: string;
}

/** npm's own settings of the outer `npm test` that would send the inner npm into this repository. */
const outer = /^(npm_config_local_prefix|npm_package_.*|npm_lifecycle_.*|init_cwd|node_options|node_env|vitest.*)$/i;
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !outer.test(name)));

async function run(cwd: string, command: string, args: readonly string[]): Promise<Ran> {
  try {
    const options = { cwd, env: environment, maxBuffer: 50_000_000, timeout: INSTALL_MS };
    const { stdout, stderr } = await promisify(execFile)(command, [...args], options);
    return { code: 0, stdout, output: stdout + stderr };
  } catch (error) {
    if (!(error instanceof Error && 'stdout' in error && 'stderr' in error && 'code' in error)) throw error;
    const code = typeof error.code === 'number' ? error.code : 1;
    return { code, stdout: String(error.stdout), output: `${error.stdout}${error.stderr}` };
  }
}

async function npm(cwd: string, ...args: readonly string[]): Promise<string> {
  const script = process.env.npm_execpath;
  const [command, first] = script?.endsWith('.js') ? [process.execPath, [script]] : ['npm', []];
  const { code, stdout, output } = await run(cwd, command, [...first, ...args]);
  if (code !== 0) throw new Error(`npm ${args.join(' ')} failed with ${code}:\n${output}`);
  return stdout;
}

const inProject = (...args: readonly string[]): Promise<Ran> => run(project, process.execPath, args);
const tsc = (): Promise<Ran> => inProject('node_modules/typescript/bin/tsc', '-p', '.', '--pretty', 'false');

/** The README's code block that begins with `// module.ts`. */
async function readmeModule(): Promise<string> {
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const [, block] = /^```ts\n(\/\/ module\.ts\n.*?)^```$/ms.exec(readme) ?? [];
  if (block === undefined) throw new Error('README.md has no ```ts block that begins with "// module.ts"');
  return block;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-package-'));
  project = join(folder, 'project');
  await mkdir(project);
  await npm(root, 'run', 'build');
  const [pack] = JSON.parse(await npm(root, 'pack', '--json', '--pack-destination', folder));
  packed = pack.files.map(({ path }: { readonly path: string }) => path);

  const { devDependencies, dependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'shop', private: true, type: 'module' }));
  const tarball = join(folder, pack.filename);
  const wanted = [tarball, `zod@${dependencies.zod}`, `@types/node@${devDependencies['@types/node']}`];
  await npm(project, 'install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', ...wanted);
  // The compiler is the user's own: ours stands in for it.
  await symlink(join(root, 'node_modules/typescript'), join(project, 'node_modules/typescript'), 'junction');

  await writeFile(join(project, 'module.ts'), await readmeModule());
  const compilerOptions = { module: 'NodeNext', target: 'ES2022', strict: true, types: ['node'], outDir: 'out' };
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
}, INSTALL_MS);

const started = new Set<ChildProcess>();
afterAll(async () => {
  for (const child of started) child.kill('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

describe('the package', { timeout: 300_000 }, () => {
  test('holds what runs, its sources and its papers, and nothing else', () => {
    const rooms = ['dist', 'bin', 'src', 'resolvers', 'workers', 'docs'];
    expect(packed).toEqual(
      expect.arrayContaining([
        'package.json',
        'README.md',
        'LICENSE',
        'CHANGELOG.md',
        'docs/operations.md',
        'schema.graphql',
        'bin/millrace.js',
        'dist/src/index.js',
        'dist/src/index.d.ts',
        'dist/src/testing/index.js',
        'dist/resolvers/index.js',
      ]),
    );
    const papers = /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|schema\.graphql)$/;
    expect(packed.filter((path) => !rooms.includes(path.split('/')[0] ?? '') && !papers.test(path))).toEqual([]);
    expect(packed.filter((path) => /\.test\.|services|\.env/.test(path))).toEqual([]);
  });
  test('brings nothing that only `npm start` and `npm test` of this repository need', async () => {
    const installed = await readdir(join(project, 'node_modules'));
    expect(installed).toEqual(expect.arrayContaining(['millrace', 'mongodb', 'bullmq']));
    expect(installed.filter((name) => /memory-server|cli-progress|vite|^tsx$/.test(name))).toEqual([]);
    const yogas = await readdir(join(project, 'node_modules/@graphql-yoga'));
    expect(yogas).not.toContain('render-graphiql');
  });
  test('every door opens in plain Node.js', async () => {
    const script = `
      import { start, aggregate, MillraceError } from 'millrace';
      import { schemaOf } from 'millrace/graphql';
      import { spec } from 'millrace/testing';
      import { createClient } from 'millrace/client';
      console.log([start, aggregate, MillraceError, schemaOf, spec, createClient].map((one) => typeof one).join());
    `;
    expect(await inProject('--input-type=module', '-e', script)).toMatchObject({
      code: 0,
      output: 'function,function,function,function,function,function\n',
    });
  });
});

describe("the README's module", { timeout: 300_000 }, () => {
  test('has 30 lines at most', async () => {
    const lines = (await readmeModule()).trimEnd().split('\n');
    expect(lines.length).toBeLessThanOrEqual(30);
  });
  test('type-checks and compiles in a project of a user', async () => {
    expect(await tsc()).toMatchObject({ code: 0, output: '' });
  });
  test('is checked indeed: a mistake in it does not compile', async () => {
    const source = await readmeModule();
    const [, event] = /return|\{ type: '(\w+)', data \}/.exec(source) ?? [];
    await writeFile(join(project, 'wrong.ts'), source.replace(`{ type: '${event}',`, `{ type: '${event}d',`));
    const { code, output } = await tsc();
    await rm(join(project, 'wrong.ts'));
    expect(code).not.toBe(0);
    expect(output).toContain(`"${event}d"`);
    expect(output).toMatch(/^wrong\.ts/);
  });
  test('is served: its sample command is accepted, its event stored, its view read', async () => {
    expect((await tsc()).code).toBe(0);
    const { url, sample, stop } = await startModule();
    const accepted = await post(url, sample);
    const [outcome] = Object.values<{ readonly __typename: string; readonly token: string }>(accepted.data);
    expect(outcome?.__typename).toBe('CommandAccepted');

    // Accepted is stored; its place in the log comes a moment later.
    const edges = await until('its event in the log', async () => {
      const { data } = await post(url, { query: '{ events(first: 5) { edges { node { type aggregateId } } } }' });
      const found: readonly { readonly node: { readonly type: string; readonly aggregateId: string } }[] =
        data.events.edges;
      return found.length > 0 ? found : undefined;
    });
    expect(edges.length).toBe(1);
    const variables = { id: edges[0]?.node.aggregateId, token: outcome?.token };
    const view = await firstView();
    const read = await post(url, {
      query: `query ($id: ID!, $token: Token!) { document: ${view}(id: $id, atLeast: $token, timeoutMs: 30000) { __typename } }`,
      variables,
    });
    expect(read).toEqual({ data: { document: { __typename: expect.any(String) } } });

    // Without the optional package the page comes all the same.
    const page = await fetch(url, { headers: { accept: 'text/html' } });
    expect(await page.text()).toContain('<title>Millrace</title>');
    expect(await stop()).toBe(0);
  });
});

async function post(url: string, body: unknown) {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  return response.json();
}

/** Name of the first view that the module declares. */
async function firstView(): Promise<string> {
  const script = `
    import app from './out/module.js';
    console.log(app.modules.flatMap(({ parts }) => parts).find(({ kind }) => kind === 'view').name);
  `;
  return (await inProject('--input-type=module', '-e', script)).stdout.trim();
}

/** `millrace start` until it has told its address and a command to try. */
async function startModule() {
  const child = spawn(process.execPath, ['node_modules/millrace/bin/millrace.js', 'start', '--app', 'out/module.js'], {
    cwd: project,
    env: {
      ...environment,
      MONGODB_URL: servers.mongoUrl,
      MONGODB_DATABASE: servers.database,
      REDIS_URL: servers.redisUrl,
      REDIS_PREFIX: servers.prefix,
      PORT: '0',
    },
  });
  started.add(child);
  const exited = new Promise<number | null>((resolve) => child.on('close', resolve));
  let output = '';
  const announced = new Promise<RegExpExecArray>((resolve) => {
    const onData = (chunk: Buffer) => {
      output += chunk.toString();
      const found = /curl -s (\S+) .* -d '(.*)'\n/.exec(output);
      if (found !== null) resolve(found);
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
  });
  const ended = exited.then((code) => {
    throw new Error(`millrace start ended with ${code} before it told what to try:\n${output}`);
  });
  const [, url = '', sample = ''] = await Promise.race([announced, ended]);
  return {
    url,
    sample: JSON.parse(sample.replaceAll(`'\\''`, "'")),
    stop: () => {
      child.kill('SIGTERM');
      return exited;
    },
  };
}
