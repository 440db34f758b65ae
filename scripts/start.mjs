// npm start [-- --reset] [-- --port 4100]: everything on one machine, for development.
import { runDetached, setUp, sourceFlags } from './setup.mjs';

setUp();
runDetached([...sourceFlags, 'scripts/dev.ts', ...process.argv.slice(2)]);
