import { afterAll, expect, test } from 'vitest';
import { type Bugs, startParcels } from '../setup/operators.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';

const none = (): undefined => undefined;
const bugs: Bugs = { trouble: none };
const parcels = await startParcels(bugs);
const running: SourceProcess[] = [];
afterAll(async () => {
  for (const { child } of running) child.kill('SIGKILL');
  await parcels.stop();
});

/** What `millrace …` prints, and its exit code. */
async function millrace(...args: string[]) {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, MILLRACE_URL: `${parcels.url}/graphql` };
  const started = startSource('test/setup/processes/cli.ts', args, env);
  running.push(started);
  const lines: string[] = [];
  try {
    for (;;) lines.push(await started.line());
  } catch {
    // Its output is over.
  }
  const text = lines.join('\n');
  return { code: await started.exited, text, errors: started.errors(), json: () => JSON.parse(text) };
}
const dead = (count: number) => parcels.blocked(count);

test('consumers are listed, paused, reset after a look at what that does, and resumed', async () => {
  await parcels.move('a', 'one');
  await until('it is handled', async () =>
    (await parcels.data('{ place(id: "a") { moves } }')).place === null ? undefined : true,
  );
  const [list, pause] = await Promise.all([
    millrace('consumers'),
    millrace('consumers', 'pause', 'places', '--reason', 'a look', '--json'),
  ]);
  expect(list.text.split('\n')[0]).toMatch(/^CONSUMER +KIND +GEN +STATE +POSITION +LAG/);
  expect(list.text).toMatch(/^places +projector +1 +(running|paused)/m);
  expect(pause.json()).toMatchObject({ name: 'places', state: 'PAUSED', paused: { reason: 'a look' } });

  const unsure = await millrace('consumers', 'reset', 'places', '--to', 'start', '--reason', 'anew');
  expect(unsure.code).toBe(1);
  expect(unsure.errors).toMatch(/All 1 documents of the view are removed[\s\S]*confirm with --yes/);
  const [preview, unknown, silent] = await Promise.all([
    millrace('consumers', 'reset', 'places', '--to', '1', '--preview', '--json'),
    millrace('consumers', 'pause', 'nobody', '--reason', 'x'),
    millrace('consumers', 'pause', 'places'),
  ]);
  expect(preview.json()).toMatchObject({ position: '1', eventCount: 0 });
  expect([unknown.code, silent.code]).toEqual([1, 1]);
  expect(unknown.errors).toMatch(/UNKNOWN_CONSUMER: There is no consumer "nobody"/);
  expect(silent.errors).toMatch(/required option '--reason <why>'/);
  const done = await millrace('consumers', 'reset', 'places', '--to', 'start', '--reason', 'anew', '--yes');
  expect([done.code, done.text]).toEqual([0, expect.stringContaining('places stands at position 0')]);
  expect((await millrace('consumers', 'resume', 'places', '--reason', 'go')).text).toContain('places is running');
  await until('it is filled again', async () =>
    (await parcels.data('{ place(id: "a") { moves } }')).place === null ? undefined : true,
  );
  const audit = (await millrace('audit', '--target', 'places/1', '--json')).json();
  expect(audit.map(({ action }: { action: string }) => action)).toEqual([
    'consumer.resume',
    'consumer.reset',
    'consumer.pause',
  ]);
}, 300_000);

test('dead letters are listed, grouped, shown, tried dry, retried and skipped, with the same audit as by GraphQL', async () => {
  bugs.trouble = (to) => (to === 'pit' ? new RangeError('deep') : to === 'fog' ? new Error('thick') : undefined);
  await Promise.all(['p', 'q', 'r'].map((id) => parcels.move(id, 'pit')));
  await parcels.move('s', 'fog');
  await parcels.move('p', 'shelf');
  await dead(4);
  const [list, groups, letters] = await Promise.all([
    millrace('dead-letters'),
    millrace('dead-letters', 'groups', '--json'),
    millrace('dead-letters', 'list', '--key', 'p', '--json'),
  ]);
  expect(list.text.split('\n')).toHaveLength(5);
  expect(list.text).toMatch(/places +p +dead +Moved .* RangeError: deep$/m);
  const deep = groups.json().find((one: { count: number }) => one.count === 3);
  expect(deep).toMatchObject({ deadCount: 3, consumers: ['places'] });
  const [letter] = letters.json();
  const [shown, preview, careless] = await Promise.all([
    millrace('dead-letters', 'show', letter.id),
    millrace('dead-letters', 'preview', letter.id),
    millrace('dead-letters', 'retry', '--reason', 'all of them?'),
  ]);
  expect(shown.text).toMatch(/Error +HANDLER_FAILED\n +RangeError: deep\n +at /);
  expect(shown.text).toContain('{"to":"pit"}');
  expect([preview.code, preview.text]).toEqual([
    1,
    expect.stringMatching(/1 keys .*\n[\s\S]*would fail: RangeError: deep/),
  ]);
  expect([careless.code, careless.errors]).toEqual([1, expect.stringContaining('Nothing was done')]);

  bugs.trouble = (to) => (to === 'fog' ? new Error('thick') : undefined);
  const retry = await millrace('dead-letters', 'retry', '--group', deep.fingerprint, '--reason', 'a ladder');
  expect([retry.code, retry.text]).toEqual([0, expect.stringMatching(/^3 of 3 dead letters released .* is done\.$/)]);
  await until('they are healed', async () => ((await parcels.letters.countDocuments()) === 1 ? true : undefined));
  const [left] = (await millrace('dead-letters', '--json')).json();
  const skip = await millrace('dead-letters', 'skip', left.id, '--reason', 'too thick', '--position', left.position);
  expect([skip.code, skip.text]).toEqual([0, 'Skipped; its key flows again.']);
  const [none2, gone, operations, audit] = await Promise.all([
    millrace('dead-letters'),
    millrace('dead-letters', 'show', left.id),
    millrace('operations', '--json'),
    millrace('audit', '--json'),
  ]);
  expect(none2.text).toBe('No dead letters.');
  expect(gone.code).toBe(1);
  expect(operations.json()[0]).toMatchObject({ state: 'DONE' });
  expect(audit.json().slice(0, 2)).toMatchObject([
    { action: 'deadLetter.skip', target: left.id, reason: 'too thick', actor: null },
    { action: 'deadLetters.retry', reason: 'a ladder' },
  ]);
}, 300_000);

test('without a gateway it says so', async () => {
  const { code, errors } = await millrace('consumers', '--url', 'http://127.0.0.1:9/graphql');
  expect([code, errors]).toEqual([1, expect.stringContaining('GATEWAY_UNREACHABLE')]);
});
