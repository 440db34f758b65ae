import { MillraceError } from '../errors.ts';
import { type ServerProcess, signalProcess } from './server-process.ts';

/** A server of one's own: kill it, freeze it, start it again on the same data and port. */
export interface PrivateServer {
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  /** Of the running server; changes with each restart. */
  pid(): number;
  /** Ordered stop, SIGKILL after 3 s. The data stays. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Stops it where it still runs, then starts it on the same data and port; resolves when it answers again. */
  restart(): Promise<void>;
  /** Sends a signal, e.g. SIGSTOP and SIGCONT. */
  signal(name: NodeJS.Signals): void;
  /** The end of the server's log. */
  logTail(): Promise<string>;
}

export function privateServer(
  url: string,
  port: number,
  dataDir: string,
  first: ServerProcess,
  start: () => Promise<ServerProcess>,
): PrivateServer {
  let current = first;
  return {
    url,
    port,
    dataDir,
    pid: () => current.pid,
    stop: () => current.stop(),
    kill: () => current.kill(),
    signal: (name) => signalProcess(current.pid, name),
    logTail: () => current.logTail(),
    restart: async () => {
      if (!current.hasExited()) await current.stop();
      current = await start();
    },
  };
}

export function endedAtStart(name: string, logTail: string): string {
  return (
    `${name} ended while it started. The end of its log:\n${logTail}\n` +
    'If the data was written by another version or is damaged, start empty: npm start -- --reset'
  );
}

export function notInTime(name: string, port: number, seen: string): MillraceError {
  return new MillraceError('SERVER_START_FAILED', `${name} on 127.0.0.1:${port} did not answer in time: ${seen}`);
}
