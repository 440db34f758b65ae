import { defineApp } from '../../src/index.ts';
import { stockModules } from './stock-modules.ts';

/** Version 2 of the stock, which takes its time for each event. */
const slowMs = Number(process.env.STOCK_SLOW_MS ?? '0');

function onEvent(): void {
  const untilMs = performance.now() + slowMs;
  while (performance.now() < untilMs);
}

export default defineApp({ modules: stockModules({ version: 2, carries: true, onEvent }) });
