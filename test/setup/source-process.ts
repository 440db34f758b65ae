import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { nodeArguments } from './compiled.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A process that runs a TypeScript file of this repository. */
export interface SourceProcess {
  readonly child: ChildProcess;
  /** The next line of its standard output; rejects with what it said when it ends without one. */
  line(): Promise<string>;
  /** Its exit code, null when a signal ended it. */
  readonly exited: Promise<number | null>;
  /** Everything it wrote to standard error so far. */
  errors(): string;
}

/** `file` is relative to the repository. */
export function startSource(
  file: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): SourceProcess {
  const child = spawn(process.execPath, nodeArguments(file, args), {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  let unread = '';
  let ended = false;
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const check of [...waiting]) check();
  };
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    unread += chunk;
    wake();
  });
  const exited = new Promise<number | null>((resolve) => {
    child.on('close', (code) => {
      ended = true;
      wake();
      resolve(code);
    });
  });
  const line = () =>
    new Promise<string>((resolve, reject) => {
      const check = () => {
        const end = unread.indexOf('\n');
        if (end < 0 && !ended) return;
        waiting.delete(check);
        if (end < 0) return reject(new Error(`${file} ended without another line. It said: ${unread}${stderr}`));
        const text = unread.slice(0, end);
        unread = unread.slice(end + 1);
        resolve(text);
      };
      waiting.add(check);
      check();
    });
  return { child, line, exited, errors: () => stderr };
}
