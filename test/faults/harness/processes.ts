import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../../src/services/server-process.ts';
import { nodeArguments } from '../../setup/compiled.ts';
import { until } from '../../setup/until.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
export type RoleName = 'gateway' | 'worker' | 'all';

export interface StartRole {
  readonly role: RoleName;
  /** Of the gateway; default: a free one. */
  readonly port?: number;
  /** Over the profile's. */
  readonly env?: Readonly<Record<string, string>>;
  /** Default: the bank. */
  readonly app?: string;
  /** Preloads, as paths in the repository. */
  readonly preloads?: readonly string[];
  /** It is meant to end by itself, as at a crash point. Default false. */
  readonly mayEnd?: boolean;
}

/** A process of the bank, as `millrace start` runs it. */
export class RoleProcess {
  readonly role: RoleName;
  /** 0 without a gateway. */
  readonly port: number;
  readonly logFile: string;
  /** Code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  #ended: number | NodeJS.Signals | undefined;
  #mayEnd: boolean;

  constructor(start: StartRole & { readonly port: number }, logFile: string, env: NodeJS.ProcessEnv) {
    this.role = start.role;
    this.port = start.role === 'worker' ? 0 : start.port;
    this.logFile = logFile;
    this.#mayEnd = start.mayEnd ?? false;
    const log = openSync(logFile, 'a');
    const preloads = (start.preloads ?? []).flatMap((path) => ['--import', join(root, path)]);
    const args = ['start', '--role', start.role, '--app', start.app ?? 'examples/bank/app.ts'];
    this.#child = spawn(process.execPath, [...preloads, ...nodeArguments('test/setup/processes/cli.ts', args)], {
      cwd: root,
      env,
      stdio: ['ignore', log, log],
    });
    this.exited = new Promise((resolve) => {
      this.#child.on('exit', (code, signal) => {
        this.#ended = code ?? signal ?? -1;
        resolve(this.#ended);
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** How it ended; undefined while it runs. */
  get ended(): number | NodeJS.Signals | undefined {
    return this.#ended;
  }

  /** It is meant to end by itself. */
  get mayEnd(): boolean {
    return this.#mayEnd;
  }

  /** It ended though nobody ended it. */
  get endedByItself(): boolean {
    return this.#ended !== undefined && !this.#mayEnd;
  }

  log(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  /** How many lines of its log hold this. */
  logged(text: string): number {
    return this.log()
      .split('\n')
      .filter((line) => line.includes(text)).length;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#mayEnd = true;
    this.#child.kill('SIGKILL');
    await this.exited;
  }

  /** SIGTERM; how it ended and how long that took. */
  async stop(): Promise<{ readonly ended: number | NodeJS.Signals; readonly tookMs: number }> {
    this.#mayEnd = true;
    const begun = performance.now();
    this.#child.kill('SIGTERM');
    const ended = await this.exited;
    return { ended, tookMs: Math.round(performance.now() - begun) };
  }
}

/** Starts the processes of one fault and knows them all until its end. */
export class Processes {
  readonly #env: NodeJS.ProcessEnv;
  readonly #logDir: string;
  readonly #all: RoleProcess[] = [];
  readonly #onExit = (): void => {
    for (const one of this.#all) one.signal('SIGKILL');
  };

  constructor(options: { readonly env: Readonly<Record<string, string>>; readonly logDir: string }) {
    this.#env = { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: process.env.TMPDIR, ...options.env };
    this.#logDir = options.logDir;
    mkdirSync(options.logDir, { recursive: true });
    // They would go on without their servers, and be in the way of whatever is measured next.
    process.once('exit', this.#onExit);
  }

  /** Resolves at once; `ready` waits until it serves. */
  async start(start: StartRole): Promise<RoleProcess> {
    const port = start.port ?? (start.role === 'worker' ? 0 : await freePort());
    const logFile = join(this.#logDir, `${String(this.#all.length + 1).padStart(3, '0')}-${start.role}.log`);
    const env = { ...this.#env, PORT: String(port), ...start.env };
    const started = new RoleProcess({ ...start, port }, logFile, env);
    this.#all.push(started);
    return started;
  }

  get all(): readonly RoleProcess[] {
    return this.#all;
  }

  /** Those that ended though nobody ended them. */
  unexpectedEnds(): readonly string[] {
    return this.#all
      .filter((one) => one.endedByItself)
      .map((one) => `${one.role} ${one.pid} ended with ${one.ended}: ${one.log().slice(-2_000)}`);
  }

  async killAll(): Promise<void> {
    process.off('exit', this.#onExit);
    await Promise.all(this.#all.filter(({ ended }) => ended === undefined).map((one) => one.kill()));
  }
}

/** Resolves when the process serves (a gateway) or says that it works (a worker). */
export async function ready(one: RoleProcess, timeoutMs = 180_000): Promise<void> {
  const look = async (): Promise<true | undefined> => {
    if (one.ended !== undefined) throw new Error(`${one.role} ended at its start (${one.ended}): ${one.log()}`);
    if (one.role === 'worker') return one.log().includes('worker started') || undefined;
    return answers(one.port);
  };
  await until(`${one.role} ${one.pid} is ready`, look, { timeoutMs, seen: () => one.log().slice(-2_000) });
}

async function answers(port: number): Promise<true | undefined> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/ready`, { signal: AbortSignal.timeout(5_000) });
    // The time may run out here, too.
    await response.arrayBuffer();
    return response.ok ? true : undefined;
  } catch {
    return undefined;
  }
}
