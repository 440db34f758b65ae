import { setTimeout as wait } from 'node:timers/promises';
import { freePort } from '../../src/services/server-process.ts';
import type { TestServers } from './servers.ts';
import { type SourceProcess, startSource } from './source-process.ts';
import { until } from './until.ts';

/** Gateway and worker processes of the bank, as `millrace start` runs them, with its default settings. */
export interface RoleProcesses {
  /** A gateway that answers, on a free port or on this one. */
  gateway(port?: number): Promise<RoleProcess & { readonly port: number }>;
  /** Begins to work when it is up; nobody needs to wait for that. */
  worker(): RoleProcess;
  /** SIGKILL to all that still run. */
  killAll(): Promise<void>;
}

export interface RoleProcess extends SourceProcess {
  readonly pid: number;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
}

/** `env` is added to the settings: without it they are those of production. */
export function roleProcesses(servers: TestServers, env: NodeJS.ProcessEnv = {}): RoleProcesses {
  const running = new Set<RoleProcess>();
  const start = (role: 'gateway' | 'worker', port: number): RoleProcess => {
    const args = ['start', '--role', role, '--app', 'examples/bank/app.ts'];
    const source = startSource('test/setup/processes/cli.ts', args, {
      PATH: process.env.PATH,
      NODE_ENV: 'production',
      MONGODB_URL: servers.mongoUrl,
      MONGODB_DATABASE: servers.database,
      REDIS_URL: servers.redisUrl,
      REDIS_PREFIX: servers.prefix,
      PORT: String(port),
      LOG_PRETTY: 'false',
      LOG_LEVEL: 'error',
      ...env,
    });
    const kill = async (): Promise<void> => {
      running.delete(started);
      source.child.kill('SIGKILL');
      await source.exited;
    };
    const started: RoleProcess = { ...source, pid: source.child.pid ?? 0, kill };
    running.add(started);
    return started;
  };
  return {
    async gateway(port) {
      const listening = port ?? (await freePort());
      const started = start('gateway', listening);
      await until(`gateway on port ${listening} answers`, () => answers(listening), {
        timeoutMs: 180_000,
        seen: () => started.errors(),
      });
      return { ...started, port: listening };
    },
    worker: () => start('worker', 0),
    async killAll() {
      await Promise.all([...running].map((one) => one.kill()));
    },
  };
}

async function answers(port: number): Promise<true | undefined> {
  const response = await fetch(`http://127.0.0.1:${port}/ready`).catch(() => undefined);
  return response?.ok ? true : undefined;
}

/** One request over HTTP; throws on GraphQL errors and after two minutes. */
export async function post<Data>(port: number, query: string, variables: object = {}): Promise<Data> {
  const response = await fetch(`http://127.0.0.1:${port}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
    signal: AbortSignal.timeout(120_000),
  });
  const { data, errors } = await response.json();
  if (errors !== undefined) throw new Error(JSON.stringify(errors));
  return data;
}

/** The answer of the first gateway that gives one: they are killed and started again. Mutations need a commandId. */
export async function postAnywhere<Data>(ports: readonly number[], query: string, variables: object): Promise<Data> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await post(ports[attempt % ports.length] ?? 0, query, variables);
    } catch (error) {
      if (attempt > 200) throw error;
      await wait(50);
    }
  }
}

export const OPEN =
  'mutation($id: ID!) { openAccount(id: $id, commandId: $id, input: { owner: "Ada", currency: EUR }) { __typename } }';
export const DEPOSIT =
  'mutation($id: ID!, $commandId: ID!, $amount: SafeInt!) { deposit(id: $id, commandId: $commandId, input: { amount: $amount }) { __typename ... on CommandAccepted { version token } } }';
