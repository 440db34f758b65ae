import { spawn } from 'node:child_process';

export interface CommandResult {
  /** Exit code; null when it was ended by a signal, undefined when it could not be started. */
  readonly code: number | null | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** One line on what went wrong; undefined after exit code 0. */
  readonly problem: string | undefined;
}

export interface CommandOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly input?: string;
}

/**
 * Runs a program to its end and never throws: what went wrong is in `problem`. It gets a process group of its own, so that
 * a time limit or an abort ends what it started too.
 */
export function runCommand(program: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: process.platform !== 'win32',
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    let stdout = '';
    let stderr = '';
    let ended: string | undefined;
    const end = (why: string) => {
      ended ??= why;
      killGroup(child.pid);
    };
    const timer = setTimeout(() => end(`no end within ${options.timeoutMs / 1_000} s`), options.timeoutMs);
    const onAbort = () => end('interrupted');
    const settle = (code: CommandResult['code'], problem: string | undefined) => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
      resolve({ code, stdout, stderr, problem: ended ?? problem });
    };
    options.signal?.addEventListener('abort', onAbort, { once: true });
    if (options.signal?.aborted === true) onAbort();
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk;
    });
    child.stdin.on('error', () => undefined).end(options.input ?? '');
    child.on('error', (error) => settle(undefined, error.message));
    child.on('close', (code, signal) => {
      const how = signal === null ? `exit code ${code}` : `ended by ${signal}`;
      settle(code, code === 0 ? undefined : `${lastLine(stderr) ?? lastLine(stdout) ?? 'no output'} (${how})`);
    });
  });
}

/** The last line that says something, at most 200 characters. */
export function lastLine(text: string): string | undefined {
  const line = text
    .split('\n')
    .map((item) => item.trim())
    .filter((item) => item !== '')
    .at(-1);
  return line?.slice(0, 200);
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, 'SIGKILL');
  } catch {
    // It ended by itself in the meantime.
  }
}
