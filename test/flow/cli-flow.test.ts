import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startBank, type TestGateway } from '../setup/gateway.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';

let bank: TestGateway;
const running: SourceProcess[] = [];
beforeAll(async () => {
  bank = await startBank();
});
afterAll(() => {
  for (const { child } of running) child.kill('SIGKILL');
});

async function millrace(...args: string[]) {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, MILLRACE_URL: `${bank.url}/graphql` };
  const started = startSource('test/setup/processes/cli.ts', args, {
    ...env,
    ...(process.env.NODE_OPTIONS !== undefined && { NODE_OPTIONS: process.env.NODE_OPTIONS }),
  });
  running.push(started);
  let text = '';
  started.child.stdout?.on('data', (chunk) => {
    text += String(chunk);
  });
  return { code: await started.exited, text, errors: started.errors() };
}

describe('millrace flow', () => {
  test('shows what a mutation set in motion as a tree, and waits until it is settled', async () => {
    const mutation = 'mutation { openAccount(id: "cli1", input: { owner: "Ada", currency: EUR }) { __typename } }';
    await bank.ask(mutation, {}, { 'x-correlation-id': 'cli-flow' });
    const shown = await millrace('flow', 'cli-flow', '--wait', '60');
    expect(shown, shown.errors).toMatchObject({ code: 0 });
    const lines = shown.text.split('\n');
    expect(lines[0]).toMatch(/^Flow cli-flow: settled, \d+ steps$/);
    expect(lines[2]).toMatch(/^command OpenAccount account\/cli1 +DONE +\+0 ms$/);
    expect(lines[3]).toMatch(/^└─ event AccountOpened account\/cli1 +DONE +\+0 ms +#\d+$/);
    expect(shown.text).toMatch(/[├└]─ projector balances cli1 +DONE/);
  });

  test('prints JSON for scripts', async () => {
    const { code, text } = await millrace('flow', 'cli-flow', '--json');
    expect(code).toBe(0);
    const flow = JSON.parse(text);
    expect(flow).toMatchObject({ correlationId: 'cli-flow', settled: true, truncated: false });
    expect(flow.steps[0]).toMatchObject({ kind: 'COMMAND', name: 'OpenAccount', status: 'DONE', parentId: null });
  });

  test.each([
    ['a flow of which nothing is known', ['flow', 'nobody'], /Nothing is known of "nobody"/],
    [
      'a gateway that is not there',
      ['flow', 'x', '--url', 'http://127.0.0.1:9/graphql'],
      /^GATEWAY_UNREACHABLE: No gateway/,
    ],
    ['an id that cannot be', ['flow', ''], /^GATEWAY_REFUSED: .*BAD_INPUT: correlationId must not be empty/],
    ['a time that is none', ['flow', 'x', '--wait', 'long'], /^SETTINGS_INVALID: --wait is "long"/],
  ])('%s ends with 1 and says why', async (_what, args, reason) => {
    const { code, text, errors } = await millrace(...args);
    expect([code, text]).toEqual([1, '']);
    expect(errors).toMatch(reason);
  });
});
