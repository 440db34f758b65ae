import { buildModel } from '../define/model.ts';
import { MillraceError } from '../errors.ts';
import { createLogger, type Logger } from '../logger.ts';
import { readSettings, type Settings } from '../settings.ts';
import { type RunningApp, startApp } from '../start.ts';
import { loadApp } from './load-app.ts';
import { sampleRequest } from './sample-request.ts';

const roles = ['all', 'gateway', 'worker'] as const;
export type Role = (typeof roles)[number];

/** `millrace start`: runs until SIGINT or SIGTERM and answers with the exit code. */
export async function start(options: {
  readonly role: string;
  readonly app?: string | undefined;
  readonly port?: string | undefined;
}): Promise<number> {
  const role = roleOf(options.role);
  const port = options.port === undefined ? {} : { PORT: options.port };
  const settings = readSettings({ ...process.env, ...port });
  const logger = createLogger(settings.log);
  const app = await loadApp(options.app, process.cwd());
  // Workers have no doors, so they load nothing of GraphQL.
  const schema =
    role === 'worker' ? undefined : (app.schema ?? (await import('../../resolvers/index.ts')).schemaOf(app.modules));
  const running = await startApp({ modules: app.modules, schema, role, settings, logger });
  const stopAsked = untilSignal(logger);
  if (running.url !== undefined && schema !== undefined) {
    announce(running.url, sampleRequest(`${running.url}/graphql`, buildModel(app.modules), schema), settings, logger);
  } else {
    logger.info({ role }, 'worker started');
  }
  await stopAsked;
  return await stopInTime(running, settings, logger);
}

function roleOf(name: string): Role {
  const role = roles.find((known) => known === name);
  if (role !== undefined) return role;
  throw new MillraceError('SETTINGS_INVALID', `--role is "${name}". Use one of: ${roles.join(', ')}.`);
}

function announce(url: string, sample: string, settings: Settings, logger: Logger): void {
  const addresses = { graphql: `${url}/graphql`, health: `${url}/health`, ready: `${url}/ready` };
  if (settings.production) {
    logger.info(addresses, 'gateway started');
    return;
  }
  process.stdout.write(
    [
      '',
      `  GraphQL    ${addresses.graphql}   (HTTP, SSE; WebSocket with graphql-transport-ws)`,
      `  GraphiQL   ${addresses.graphql}   (in a browser)`,
      `  Health     ${addresses.health}   ${addresses.ready}`,
      '',
      '  Try:',
      `  ${sample}`,
      '',
      '',
    ].join('\n'),
  );
}

/** Resolves at the first SIGINT or SIGTERM; the second one ends the process at once. */
function untilSignal(logger: Logger): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (asked) process.exit(signal === 'SIGINT' ? 130 : 143);
      asked = true;
      logger.info({ signal }, 'stopping; a second signal stops at once');
      resolve();
    };
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  });
}

/** What does not stop within its time is left behind: nothing that was acknowledged depends on a good end. */
async function stopInTime(running: RunningApp, settings: Settings, logger: Logger): Promise<number> {
  const limitMs = settings.drainWindowMs + settings.shutdownTimeoutMs + 1_000;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), limitMs);
  });
  const ended = await Promise.race([running.stop(), late]);
  clearTimeout(timer);
  if (ended !== 'late') {
    logger.info('stopped');
    return 0;
  }
  logger.error({ limitMs }, 'not everything stopped in time');
  return 1;
}
