import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { createClient } from '../../src/client/index.ts';
import { startBank } from '../setup/gateway.ts';
import { type Frame, type Screen, screenStage } from '../setup/screen.ts';
import { until } from '../setup/until.ts';

/*
 * The page of examples/bank-screen in Chromium, over links that are slow or away. Each drawing is looked at.
 */
const bank = await startBank();
const stage = await screenStage(bank.url);
const other = createClient({ url: bank.url, transport: 'sse' });
afterAll(async () => {
  await other.close();
  await stage.close();
});

const OPEN = `mutation ($id: ID!, $owner: String!, $commandId: ID) {
  openAccount(id: $id, input: { owner: $owner, currency: EUR }, commandId: $commandId) { __typename }
}`;
const DEPOSIT = `mutation ($id: ID!, $commandId: ID) {
  deposit(id: $id, input: { amount: 100 }, commandId: $commandId) { __typename }
}`;
async function account(owner: string): Promise<string> {
  const id = randomUUID();
  await other.send({ query: OPEN, variables: { id, owner } });
  return id;
}
const deposit = (id: string) => other.send({ query: DEPOSIT, variables: { id } });
const balanceOf = async (id: string): Promise<number> => {
  const data = await other.query({ query: 'query ($id: ID!) { account(id: $id) { balance } }', variables: { id } });
  return (data.account as { readonly balance: number }).balance / 100;
};

const shown = (frame: Frame, id: string): number => Number.parseFloat(frame.balances[id] ?? 'NaN');
async function untilShown({ page }: Screen, id: string, balance: number): Promise<void> {
  await page
    .locator(`#balance-${id}`)
    .getByText(`${balance.toFixed(2)} EUR`, { exact: true })
    .waitFor({ timeout: 30_000 });
}
const untilLive = ({ page }: Screen) => page.getByText('Live', { exact: true }).waitFor({ timeout: 30_000 });
const button = ({ page }: Screen, id: string, name: string) =>
  page.locator('li', { has: page.locator(`#balance-${id}`) }).getByRole('button', { name });

describe('the page, on a slow network', () => {
  test('each click is shown at once and once: no drawing goes back, none is ahead of the clicks', async () => {
    const id = await account('Ada');
    const screen = await stage.open();
    await untilShown(screen, id, 0);
    await untilLive(screen);
    screen.link.set({ kind: 'delay', ms: 120 });
    await screen.forget();
    for (let click = 1; click <= 12; click++) {
      await button(screen, id, '+ 1.00').click();
      // Some wait for the effect of those before them, others do not.
      if (click % 4 === 0)
        await until('it is stored', async () => ((await balanceOf(id)) === click ? true : undefined));
    }
    await untilShown(screen, id, 12);
    await until('the page has settled', async () => ((await balanceOf(id)) === 12 ? true : undefined));
    // One more change, by somebody else, comes after everything of the page's own.
    await deposit(id);
    await untilShown(screen, id, 13);
    const frames = (await screen.frames()).map((frame) => ({ clicks: frame.clicks, balance: shown(frame, id) }));
    expect(frames.length).toBeGreaterThanOrEqual(12);
    const wrong = frames.slice(0, -1).filter(({ clicks, balance }) => balance !== clicks);
    expect(wrong).toEqual([]);
    expect(screen.problems).toEqual([]);
  });
  test('what others do meanwhile is neither lost nor shown twice', async () => {
    const id = await account('Barbara');
    const screen = await stage.open();
    await untilShown(screen, id, 0);
    await untilLive(screen);
    screen.link.set({ kind: 'delay', ms: 80 });
    await screen.forget();
    const others = (async () => {
      for (let n = 0; n < 20; n++) await deposit(id);
    })();
    for (let click = 0; click < 10; click++) await button(screen, id, '+ 1.00').click();
    await others;
    await untilShown(screen, id, 30);
    const balances = (await screen.frames()).map((frame) => shown(frame, id));
    expect(balances.filter((balance, n) => balance < (balances[n - 1] ?? 0))).toEqual([]);
    expect(Math.max(...balances)).toBe(30);
    expect(screen.problems).toEqual([]);
  });
  test('a refusal takes its own change back and nothing else', async () => {
    const id = await account('Edsger');
    await deposit(id);
    const screen = await stage.open();
    await untilShown(screen, id, 1);
    await untilLive(screen);
    // Both clicks are drawn before the first answer comes.
    screen.link.set({ kind: 'upOnly' });
    await screen.forget();
    await button(screen, id, '− 5.00').click();
    await button(screen, id, '+ 1.00').click();
    await untilShown(screen, id, -3);
    screen.link.set({ kind: 'pass' });
    await screen.page.getByRole('alert').waitFor();
    await untilShown(screen, id, 2);
    const balances = (await screen.frames()).map((frame) => shown(frame, id));
    expect(balances.filter((balance, n) => balance !== balances[n - 1])).toEqual([-4, -3, 2]);
    expect(screen.problems).toEqual([]);
  });
});

/** OFFLINE_SECONDS=30: the acceptance, also with a link that swallows everything, as a cable that is pulled out. */
const OFFLINE_MS = Number(process.env.OFFLINE_SECONDS ?? 0) * 1_000;
const ways = OFFLINE_MS > 0 ? (['reset', 'blackhole'] as const) : (['reset'] as const);

test.each(ways)(
  'the page offline (%s) and back: what was there stays, what was missed comes, what was clicked arrives',
  async (way) => {
    const [mine, theirs] = [await account('Grace'), await account('Konrad')];
    const screen = await stage.open();
    await untilShown(screen, theirs, 0);
    await untilLive(screen);
    await screen.forget();
    screen.link.set({ kind: way });
    await screen.page.getByText('Connection lost').waitFor();
    await button(screen, mine, '+ 1.00').click();
    for (let n = 0; n < 5; n++) await deposit(theirs);
    const opened = await account('Leslie');
    await untilShown(screen, mine, 1);
    await wait(OFFLINE_MS);
    // What a pulled cable swallowed is gone.
    screen.link.set({ kind: 'reset' });
    screen.link.set({ kind: 'pass' });
    await untilLive(screen);
    await untilShown(screen, theirs, 5);
    await untilShown(screen, opened, 0);
    await until('the click is stored', async () => ((await balanceOf(mine)) === 1 ? true : undefined));
    await deposit(mine);
    await untilShown(screen, mine, 2);
    const frames = await screen.frames();
    expect(frames.filter((frame) => Number.isNaN(shown(frame, mine) + shown(frame, theirs)))).toEqual([]);
    for (const id of [mine, theirs]) {
      const balances = frames.map((frame) => shown(frame, id));
      expect(balances.filter((balance, n) => balance < (balances[n - 1] ?? 0))).toEqual([]);
    }
    expect(screen.problems).toEqual([]);
  },
  // Between two tries it may wait for 15 s.
  120_000 + 3 * OFFLINE_MS,
);
