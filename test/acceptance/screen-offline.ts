/**
 * Acceptance: the page of examples/bank-screen in Chromium is offline for 30 s (cut, and as behind a cable that was
 * pulled out), with clicks before and meanwhile and changes of others; back, its state is right, and no drawing ever
 * showed an older balance after a newer one.
 *
 *     node --conditions=millrace-source --import tsx test/acceptance/screen-offline.ts [SECONDS]
 */
import { setTimeout as wait } from 'node:timers/promises';
import { post } from '../setup/role-processes.ts';
import { screenStage } from '../setup/screen.ts';
import { until } from '../setup/until.ts';
import { onStage, type Stage } from './stage.ts';

const SECONDS = Number(process.argv[2] ?? 30);
const BACK_MAX_MS = 20_000;

async function play(stage: Stage): Promise<void> {
  const [port = 0] = stage.ports;
  const screens = await screenStage(`http://127.0.0.1:${port}`);
  try {
    for (const way of ['reset', 'blackhole'] as const) {
      const screen = await screens.open();
      const { page, link } = screen;
      const live = page.getByText('Live', { exact: true });
      await live.waitFor();
      const mine = page.locator('li', { has: page.locator('#balance-a0') }).getByRole('button', { name: '+ 1.00' });
      const before = await balance(port);
      await mine.click();
      await until('the click is stored', async () => ((await balance(port)) === before + 100 ? true : undefined));
      link.set({ kind: way });
      await mine.click();
      for (let n = 0; n < 100; n++) await stage.deposit(n);
      await wait(SECONDS * 1_000);
      // What a pulled cable swallowed is gone.
      if (way === 'blackhole') link.set({ kind: 'reset' });
      const begun = performance.now();
      link.set({ kind: 'pass' });
      await live.waitFor({ timeout: BACK_MAX_MS });
      const expected = before + 200 + 1;
      await until('the click is stored', async () => ((await balance(port)) === expected ? true : undefined), {
        timeoutMs: BACK_MAX_MS,
      });
      await page
        .locator('#balance-a0')
        .getByText(`${(expected / 100).toFixed(2)} EUR`)
        .waitFor({ timeout: BACK_MAX_MS });
      const backMs = Math.round(performance.now() - begun);
      const frames = (await screen.frames()).map(({ balances }) => balances.a0).filter((text) => text !== undefined);
      const shown = frames.map((text) => Math.round(Number.parseFloat(text) * 100));
      const wrong = shown.filter((one, n) => one < (shown[n - 1] ?? 0) || one > expected);
      console.log(
        `${way}: ${SECONDS} s offline; ${backMs} ms after it was back the page showed everything. ` +
          `${shown.length} drawings: ${[...new Set(shown)].join(', ')}.`,
      );
      if (wrong.length > 0) throw new Error(`a drawing went back or too far: ${wrong.join(', ')}`);
      if (screen.problems.length > 0) throw new Error(screen.problems.join('\n'));
    }
  } finally {
    await screens.close();
  }
}

async function balance(port: number): Promise<number> {
  const { account } = await post<{ account: { balance: number } }>(port, '{ account(id: "a0") { balance } }');
  return account.balance;
}

await onStage(play);
