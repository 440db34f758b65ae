import { MillraceError } from '../errors.ts';
import { type Report, silentReport } from './report.ts';
import { runCommand } from './run-command.ts';
import { which } from './which.ts';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'] as const;
const LIMIT_MS = 300_000;

export interface ChromiumOptions {
  /** Where CHROMIUM_PATH and PATH are read. Default `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  readonly report?: Report;
  readonly signal?: AbortSignal;
}

/**
 * A Chromium for tests of pages, by full path: CHROMIUM_PATH, one on the PATH, else the package `chromium` of Debian by
 * apt-get as root. Throws SERVERS_UNAVAILABLE, which says what was tried and what helps.
 */
export async function findChromium(options: ChromiumOptions = {}): Promise<string> {
  const { env = process.env, report = silentReport, signal } = options;
  if (env.CHROMIUM_PATH) return env.CHROMIUM_PATH;
  const found = await which(NAMES, env);
  if (found !== undefined) return found;
  const problem = await installChromium(env, report, signal);
  const installed = await which(NAMES, env);
  if (installed !== undefined) return installed;
  throw new MillraceError(
    'SERVERS_UNAVAILABLE',
    `There is no Chromium, which tests of pages need. CHROMIUM_PATH: not set. On the PATH: none of ${NAMES.join(', ')}. ` +
      `Debian package: ${problem ?? 'it brought no program'}. Install Chromium or Chrome, or set CHROMIUM_PATH to one.`,
  );
}

/** What went wrong, in a line. */
async function installChromium(
  env: NodeJS.ProcessEnv,
  report: Report,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'apt-get needs root';
  const apt = await which(['apt-get'], env);
  if (apt === undefined) return 'no apt-get here';
  const quiet = { timeoutMs: LIMIT_MS, signal, env: { ...env, DEBIAN_FRONTEND: 'noninteractive' } };
  const install = ['install', '-y', '-qq', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=120', 'chromium'];
  report.line('  apt-get install chromium …');
  const first = await runCommand(apt, install, quiet);
  if (first.problem === undefined) return undefined;
  report.line('  apt-get update …');
  await runCommand(apt, ['update', '-qq'], quiet);
  return (await runCommand(apt, install, quiet)).problem;
}
