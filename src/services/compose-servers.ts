import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { type CommandResult, runCommand } from './run-command.ts';
import type { SourceContext } from './sources.ts';
import { which } from './which.ts';

const COMPOSE_FILE = fileURLToPath(new URL('../../docker-compose.yml', import.meta.url));
const ENGINE_LIMIT_MS = 5_000;
const UP_LIMIT_MS = 10 * 60_000;
const STOP_LIMIT_MS = 20_000;

export type ComposeService = 'mongodb' | 'redis';

const INNER_PORT: Readonly<Record<ComposeService, number>> = { mongodb: 27_017, redis: 6_379 };

/** One database of docker-compose.yml, in a compose project that belongs to one data folder. */
export interface ComposeServer {
  readonly url: string;
  readonly version: string;
  stop(): Promise<void>;
}

/** Throws, in one line, where no Docker engine runs or compose is not there. */
export async function requireEngine({ env, signal }: SourceContext): Promise<string> {
  const docker = await which(['docker'], env);
  if (docker === undefined) throw new Error('docker is not on the PATH');
  // Without an engine "docker info" may still leave with 0: the answer counts, not the exit code.
  const options = { timeoutMs: ENGINE_LIMIT_MS, env, signal };
  const info = await runCommand(docker, ['info', '--format', '{{.ServerVersion}}'], options);
  if (info.problem !== undefined) throw new Error(`no engine: ${info.problem}`);
  if (info.stdout.trim() === '') throw new Error(`no engine: ${info.stderr.trim().split('\n')[0] ?? 'no answer'}`);
  const compose = await runCommand(docker, ['compose', 'version'], options);
  if (compose.problem !== undefined) throw new Error(`no docker compose: ${compose.problem}`);
  return docker;
}

/**
 * Starts one service of docker-compose.yml and waits until it is healthy. Data is in the project's volume, published on a
 * loopback port that Docker chooses; `reset` drops the volume first.
 */
export async function startComposeService(
  docker: string,
  service: ComposeService,
  options: { readonly dataDir: string; readonly reset: boolean; readonly context: SourceContext },
): Promise<ComposeServer> {
  const { dataDir, reset, context } = options;
  const project = `millrace-${createHash('sha256').update(dataDir).digest('hex').slice(0, 12)}-${service}`;
  const compose = async (args: readonly string[], timeoutMs: number): Promise<CommandResult> => {
    const all = ['compose', '-f', COMPOSE_FILE, '-p', project, ...args];
    const result = await runCommand(docker, all, { timeoutMs, env: context.env, signal: context.signal });
    if (result.problem !== undefined) throw new Error(`docker compose ${args[0]}: ${result.problem}`);
    return result;
  };
  if (reset) await compose(['down', '-v'], STOP_LIMIT_MS);
  context.report.line(`  docker compose up ${service} …`);
  await compose(['up', '-d', '--wait', service], UP_LIMIT_MS);
  const address = await compose(['port', service, String(INNER_PORT[service])], STOP_LIMIT_MS);
  const port = Number(address.stdout.trim().split(':').at(-1));
  if (!Number.isInteger(port) || port <= 0) throw new Error(`docker compose port said "${address.stdout.trim()}"`);
  return {
    // The set names its member by the name inside compose; from here it is reached directly.
    url: service === 'mongodb' ? `mongodb://127.0.0.1:${port}/?directConnection=true` : `redis://127.0.0.1:${port}`,
    version: `docker compose service ${service}`,
    stop: async () => {
      await runCommand(docker, ['compose', '-f', COMPOSE_FILE, '-p', project, 'stop', '-t', '3'], {
        timeoutMs: STOP_LIMIT_MS,
        env: context.env,
      });
    },
  };
}
