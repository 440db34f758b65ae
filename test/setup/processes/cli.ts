/** bin/millrace.js from its sources. */
import { runCli } from '../../../src/cli/main.ts';

process.exit(await runCli(process.argv.slice(2)));
