#!/usr/bin/env node
import { existsSync } from 'node:fs';

const main = new URL('../dist/src/cli/main.js', import.meta.url);
if (existsSync(main)) {
  const { runCli } = await import(main.href);
  process.exit(await runCli(process.argv.slice(2)));
}
console.error('Millrace is not built here: npm run build. (For development: npm start.)');
process.exit(1);
