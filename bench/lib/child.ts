import { type ChildProcess, fork } from 'node:child_process';

/** A process that the benchmark started: the system under test, a baseline or the load generator. */
export interface Child {
  readonly pid: number;
  /** Runs a handler of the child's `serve`; rejects with the child's error, or when the child ends. */
  call<R>(name: string, argument?: unknown): Promise<R>;
  stop(): Promise<void>;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** Starts `file` with tsx, and Millrace as its users have it: compiled (`dist`); resolves when it has called `serve`. Its stderr goes to ours. */
export async function startChild(
  file: URL,
  options: { readonly env?: Readonly<Record<string, string>>; readonly nodeArgs?: readonly string[] } = {},
): Promise<Child> {
  const child = fork(file, {
    execArgv: ['--import', import.meta.resolve('tsx'), ...(options.nodeArgs ?? [])],
    env: { ...process.env, ...options.env },
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const calls = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  let ended: Error | undefined;
  const exited = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      ended = new Error(`${file.pathname} ended (${signal ?? code})`);
      for (const call of calls.values()) call.reject(ended);
      calls.clear();
      resolve();
    });
  });
  child.on('message', (answer: Answer) => {
    const call = calls.get(answer.id);
    calls.delete(answer.id);
    if (answer.error === undefined) call?.resolve(answer.value);
    else call?.reject(new Error(answer.error));
  });
  const ready = new Promise<unknown>((resolve, reject) => calls.set(0, { resolve, reject }));
  await ready;
  let lastId = 0;
  return {
    pid: child.pid ?? 0,
    call: <R>(name: string, argument?: unknown) =>
      new Promise<R>((resolve, reject) => {
        if (ended !== undefined) return reject(ended);
        lastId += 1;
        calls.set(lastId, { resolve: (value) => resolve(value as R), reject });
        child.send({ id: lastId, name, argument });
      }),
    stop: () => stopChild(child, exited),
  };
}

async function stopChild(child: ChildProcess, exited: Promise<void>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await exited;
  clearTimeout(timer);
}
