import { exec } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, inject, test } from 'vitest';
import { testServers } from '../setup/servers.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';

const servers = testServers();
const env: NodeJS.ProcessEnv = {
  PATH: process.env.PATH,
  HOME: process.env.HOME,
  MONGODB_URL: servers.mongoUrl,
  MONGODB_DATABASE: servers.database,
  REDIS_URL: servers.redisUrl,
  REDIS_PREFIX: servers.prefix,
  PORT: '0',
  LOG_PRETTY: 'false',
  LOG_LEVEL: 'info',
  ...(process.env.NODE_OPTIONS !== undefined && { NODE_OPTIONS: process.env.NODE_OPTIONS }),
};
const running: SourceProcess[] = [];
afterAll(() => {
  for (const { child } of running) child.kill('SIGKILL');
});
const millrace = (args: readonly string[], more: NodeJS.ProcessEnv = {}): SourceProcess => {
  const started = startSource('test/setup/processes/cli.ts', args, { ...env, ...more });
  running.push(started);
  return started;
};
const bank = ['--app', 'examples/bank/app.ts'];

/** Lines of standard output up to the one that matches. */
async function linesUntil(of: SourceProcess, wanted: RegExp): Promise<string> {
  for (;;) {
    const line = await of.line();
    if (wanted.test(line)) return line;
  }
}
/** What a command says that ends by itself. */
async function refusal(args: readonly string[], more?: NodeJS.ProcessEnv) {
  const ended = millrace(args, more);
  return { code: await ended.exited, text: ended.errors() };
}

describe('millrace start', () => {
  test('says where everything is and a line that works when it is pasted; SIGTERM ends it well', async () => {
    const started = millrace(['start', ...bank]);
    const graphql = /http:\S+/.exec(await linesUntil(started, /GraphQL {2}/))?.[0];
    expect(graphql).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/graphql$/);
    expect(await linesUntil(started, /GraphiQL/)).toContain(graphql);
    expect(await linesUntil(started, /Health/)).toContain('/health');
    const curl = await linesUntil(started, /curl/);
    const { stdout } = await promisify(exec)(curl.trim());
    expect(JSON.parse(stdout).data.openAccount).toMatchObject({ __typename: 'CommandAccepted', version: 1 });

    started.child.kill('SIGTERM');
    // It is 1 where something did not stop in its time.
    expect(await started.exited).toBe(0);
  });

  test('in production it logs JSON lines and nothing else', async () => {
    const started = millrace(['start', ...bank], { NODE_ENV: 'production' });
    for (;;) {
      const line = JSON.parse(await started.line());
      if (line.msg !== 'gateway started') continue;
      expect(line).toMatchObject({ graphql: expect.stringMatching(/graphql$/), pid: expect.any(Number) });
      break;
    }
    started.child.kill('SIGTERM');
    expect(await started.exited).toBe(0);
  });

  test('gateway and worker run apart; a second signal ends at once', async () => {
    const gateway = millrace(['start', '--role', 'gateway', ...bank]);
    const worker = millrace(['start', '--role', 'worker', ...bank]);
    const url = /http:\S+/.exec(await linesUntil(gateway, /GraphQL {2}/))?.[0] ?? '';
    await linesUntil(worker, /worker started/);
    const ask = async (query: string) => {
      const body = JSON.stringify({ query });
      const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
      return ((await response.json()) as { readonly data: Record<string, never> }).data;
    };
    const opened = await ask(
      'mutation { openAccount(id: "apart", input: { owner: "Ada", currency: EUR }) { ... on CommandAccepted { token } } }',
    );
    const token = JSON.stringify((opened.openAccount as { readonly token: string } | undefined)?.token);
    // Only the worker writes views.
    expect(await ask(`{ account(id: "apart", atLeast: ${token}, timeoutMs: 60000) { owner } }`)).toEqual({
      account: { owner: 'Ada' },
    });
    worker.child.kill('SIGINT');
    expect(await worker.exited).toBe(0);
    gateway.child.kill('SIGINT');
    gateway.child.kill('SIGINT');
    expect([0, 130]).toContain(await gateway.exited);
  });

  test('a port that is taken ends it with cause and cure, and no stack', async () => {
    const taken = createServer();
    await once(taken.listen(0, '127.0.0.1'), 'listening');
    const address = taken.address();
    const port = String(typeof address === 'object' && address !== null ? address.port : 0);
    const { code, text } = await refusal(['start', ...bank, '--port', port]);
    taken.close();
    expect(code).toBe(1);
    expect(text).toMatch(new RegExp(`^PORT_IN_USE: Port ${port} .*set PORT`, 'm'));
    expect(text).not.toMatch(/^\s+at /m);
  });

  test.each<readonly [string, readonly string[], NodeJS.ProcessEnv, RegExp]>([
    ['no database is named', bank, { MONGODB_URL: '' }, /^SETTINGS_INVALID: [\s\S]*MONGODB_URL: is missing/],
    ['the role is none', [...bank, '--role', 'king'], {}, /^SETTINGS_INVALID: --role is "king"/],
    ['there is no such app', ['--app', 'nothing.ts'], {}, /^SETTINGS_INVALID: There is no file .*nothing\.ts/],
    ['there is no default app', [], {}, /^SETTINGS_INVALID: There is no app file in .*--app/],
    ['the file is no app', ['--app', 'examples/bank/account.ts'], {}, /^SETTINGS_INVALID: .*does not export an app/],
    ['the port is none', [...bank, '--port', '70000'], {}, /^SETTINGS_INVALID: [\s\S]*PORT/],
    [
      'nobody is at the database',
      bank,
      { MONGODB_URL: 'mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300' },
      /^MONGODB_UNREACHABLE: /,
    ],
    ['nobody is at Redis', bank, { REDIS_URL: 'redis://127.0.0.1:9' }, /^REDIS_UNREACHABLE: /],
  ])('when %s it ends with 1, cause and cure', async (_what, args, more, expected) => {
    const { code, text } = await refusal(['start', ...args], more);
    expect(text).toMatch(expected);
    expect(code).toBe(1);
    expect(text).not.toMatch(/^\s+at /m);
  });

  test('an app whose schema cannot be derived is refused with its place', async () => {
    const folder = await mkdtemp(join(inject('dataRoot') ?? tmpdir(), 'app-'));
    const file = join(folder, 'app.ts');
    const root = new URL('../..', import.meta.url).pathname;
    await writeFile(
      file,
      `import { aggregate, defineApp, module } from '${root}src/index.ts';
       import { z } from '${root}node_modules/zod/index.js';
       const order = aggregate({ name: 'order', events: { Placed: z.object({}) }, commands: { Place: z.object({ at: z.date() }) },
         initial: () => null, evolve: { Placed: () => null }, decide: { Place: () => [] } });
       export default defineApp({ modules: [module({ name: 'shop', parts: [order] })] });`,
    );
    const { code, text } = await refusal(['start', '--app', file]);
    await rm(folder, { recursive: true });
    expect(text).toMatch(/^SCHEMA_NOT_DERIVABLE: .*command "Place"/);
    expect(code).toBe(1);
  });
});

test('millrace verify compares commits and log, as a table and as JSON', async () => {
  const asTable = millrace(['verify'], { REDIS_URL: '' });
  expect(await linesUntil(asTable, /every event of every commit/)).toContain('once and in order');
  expect(await asTable.exited).toBe(0);
  const asJson = millrace(['verify', '--json']);
  expect(await linesUntil(asJson, /"ok"/)).toContain('true');
  expect(await asJson.exited).toBe(0);
});

test('help is there, and what is not understood is told', async () => {
  const help = millrace(['--help']);
  expect(await linesUntil(help, /start \[options\]/)).toContain('Start gateway, workers or both');
  expect(await help.exited).toBe(0);
  const { code, text } = await refusal(['strat']);
  expect(text).toMatch(/unknown command 'strat'/);
  expect(code).toBe(1);
});
