import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { serveScreen } from '../../examples/bank-screen/serve.ts';
import { findChromium, terminalReport } from '../../src/services/index.ts';
import { TcpProxy } from '../faults/harness/tcp-proxy.ts';

/** One drawing of the page: what its balances said, and what the user had clicked by then. */
export interface Frame {
  readonly status: string;
  /** By id of the account, as written. */
  readonly balances: Readonly<Record<string, string>>;
  readonly clicks: number;
}

export interface Screen {
  readonly page: Page;
  /** The link between the browser and everything else. */
  readonly link: TcpProxy;
  /** Every drawing since `forget`, in order. */
  frames(): Promise<readonly Frame[]>;
  forget(): Promise<void>;
  /** Errors that nobody caught, and errors in the console that are not of the network. */
  readonly problems: readonly string[];
}

export interface Stage {
  open(): Promise<Screen>;
  close(): Promise<void>;
}

/** The example's page, built, in Chromium, behind a link that can be cut. */
export async function screenStage(gatewayUrl: string): Promise<Stage> {
  const executablePath = await findChromium({ report: await terminalReport() });
  const outDir = await mkdtemp(join(tmpdir(), 'millrace-screen-'));
  const served = await serveScreen({ gatewayUrl, port: 0, outDir, logLevel: 'silent' });
  const browser = await chromium.launch({
    executablePath,
    args: [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
    ],
  });
  const links: TcpProxy[] = [];
  return {
    open: () => openScreen(browser, served.url, links),
    async close() {
      await browser.close();
      for (const link of links) await link.close();
      await served.stop();
      await rm(outDir, { recursive: true, force: true });
    },
  };
}

async function openScreen(browser: Browser, url: string, links: TcpProxy[]): Promise<Screen> {
  const link = await TcpProxy.to(Number(new URL(url).port));
  links.push(link);
  const page = await browser.newPage();
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load|WebSocket connection|net::/.test(message.text())) {
      problems.push(message.text());
    }
  });
  await page.addInitScript(recordFrames);
  await page.goto(`http://127.0.0.1:${link.port}/`);
  return {
    page,
    link,
    problems,
    frames: () => page.evaluate('window.frames_') as Promise<Frame[]>,
    forget: async () => {
      await page.evaluate('window.frames_.length = 0');
    },
  };
}

/** Runs in the page. A MutationObserver is told after each change of the document and before it is painted. */
const recordFrames = `
  window.frames_ = [];
  let clicks = 0;
  addEventListener('click', () => { clicks++; }, { capture: true });
  const record = () => {
    const balances = {};
    for (const output of document.querySelectorAll('output')) balances[output.id.slice('balance-'.length)] = output.textContent;
    const status = document.querySelector('[role=status]')?.textContent ?? '';
    window.frames_.push({ status, balances, clicks });
  };
  new MutationObserver(record).observe(document, { childList: true, subtree: true, characterData: true, attributes: true });
`;
