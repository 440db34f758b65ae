/**
 * What `npm start` runs: MongoDB and Redis of its own (or those of MONGODB_URL and REDIS_URL), then every role of
 * Millrace with the bank example in one process. Refused in production, where nothing is embedded.
 */
import { runCli } from '../src/cli/main.ts';
import { isMillraceError, MillraceError } from '../src/errors.ts';
import { type ProvidedServers, provideServers, terminalReport } from '../src/services/index.ts';

const DATA_DIR = process.env.MILLRACE_DATA_DIR || '.millrace';
/** Stopping the application, then the servers, is to take less than 5 s together. */
const SHUTDOWN_TIMEOUT_MS = 2_500;
const DRAIN_WINDOW_MS = 500;

const given = process.argv.slice(2);
const reset = given.includes('--reset');
const rest = given.filter((argument) => argument !== '--reset');

// The launcher was killed: stop in order, as on SIGTERM.
process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'));

process.exit(await main());

async function main(): Promise<number> {
  try {
    const { NODE_ENV, MONGODB_URL, REDIS_URL } = process.env;
    if (NODE_ENV === 'production' && !(MONGODB_URL && REDIS_URL)) throw refusedInProduction();
    const servers = await provide();
    try {
      process.env.MONGODB_URL = servers.mongoUrl;
      process.env.REDIS_URL = servers.redisUrl;
      process.env.SHUTDOWN_TIMEOUT_MS ??= String(SHUTDOWN_TIMEOUT_MS);
      process.env.DRAIN_WINDOW_MS ??= String(DRAIN_WINDOW_MS);
      return await runCli(['start', '--role', 'all', '--app', 'examples/bank/app.ts', ...rest]);
    } finally {
      await servers.stop();
    }
  } catch (error) {
    console.error(isMillraceError(error) ? `${error.code}: ${error.message}` : error);
    return 1;
  }
}

/** Until the application handles signals itself, they end downloads and waiting; started servers end with the process. */
async function provide(): Promise<ProvidedServers> {
  const abort = new AbortController();
  const onSignal = () => {
    abort.abort(new Error('interrupted'));
    console.error('Interrupted.');
    process.exit(130);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    const report = await terminalReport();
    return await provideServers({ dataDir: DATA_DIR, reset, report, signal: abort.signal });
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

function refusedInProduction(): MillraceError {
  return new MillraceError(
    'SETTINGS_INVALID',
    'NODE_ENV is "production": there is no embedded MongoDB or Redis there. Set MONGODB_URL and REDIS_URL, ' +
      'or unset NODE_ENV for development.',
  );
}
