import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MillraceError } from '../errors.ts';
import { isProcessStamp, isRunning, type ProcessStamp, stampOf } from './process-stamp.ts';

const SUPERVISOR = fileURLToPath(new URL('./supervisor.mjs', import.meta.url));
const LOG_TAIL_LINES = 12;
const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;

export interface LaunchOptions {
  /** "MongoDB", "Redis": for messages. */
  readonly name: string;
  readonly binary: string;
  readonly args: readonly string[];
  readonly port: number;
  /** Standard output and error of the server; emptied at each start. */
  readonly logFile: string;
  /** Where port and process are noted for the next start. */
  readonly noteFile: string;
  /** After SIGTERM the server gets this long, then SIGKILL. */
  readonly stopGraceMs: number;
}

/** What the last run left in the data folder; `process` only while it runs or after it was killed. */
interface Note {
  readonly port: number;
  readonly process?: ProcessStamp | undefined;
}

/** One run of one server, under the supervisor: it ends when this process ends, however that happens. */
export interface ServerProcess {
  /** Of the server itself, not of its supervisor. */
  readonly pid: number;
  readonly exited: Promise<void>;
  hasExited(): boolean;
  /** SIGTERM, and SIGKILL after the grace; resolves when the process is gone. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** The end of the log, for error messages. */
  logTail(): Promise<string>;
}

/** Starts the program and resolves when the process runs (not yet: when it answers). Throws SERVER_START_FAILED. */
export async function launch(options: LaunchOptions): Promise<ServerProcess> {
  const { name, binary, args, port, logFile, noteFile, stopGraceMs } = options;
  mkdirSync(dirname(logFile), { recursive: true });
  rmSync(logFile, { force: true });
  const supervisor = spawn(process.execPath, [SUPERVISOR, logFile, String(stopGraceMs), binary, ...args], {
    stdio: ['pipe', 'pipe', 'ignore'],
    detached: true,
    windowsHide: true,
    // Flags and preloads of this process are not for the supervisor.
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  supervisor.stdin?.on('error', () => undefined);
  let gone = false;
  const exited = new Promise<void>((resolve) => {
    supervisor.on('close', () => {
      gone = true;
      resolve();
    });
    supervisor.on('error', () => resolve());
  });
  const logTail = () => readTail(logFile);
  const pid = await firstAnswer(supervisor, exited, name, binary);
  letGo(supervisor);
  await writeFile(noteFile, JSON.stringify({ port, process: stampOf(pid) } satisfies Note));
  return {
    pid,
    exited,
    hasExited: () => gone,
    logTail,
    stop: async () => {
      supervisor.stdin?.end();
      await waited(supervisor, exited);
      await writeFile(noteFile, JSON.stringify({ port }));
    },
    kill: async () => {
      signalProcess(pid, 'SIGKILL');
      await waited(supervisor, exited);
    },
  };
}

/** Sends a signal, such as SIGSTOP; a process that is gone is no error. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** Ends a server that an earlier run left behind: its parent and its supervisor were both killed. */
export async function stopLeftover(noteFile: string, graceMs: number): Promise<boolean> {
  const note = await readNote(noteFile);
  if (note?.process === undefined || !isRunning(note.process)) return false;
  signalProcess(note.process.pid, 'SIGTERM');
  const killAt = Date.now() + graceMs;
  while (isRunning(note.process)) {
    if (Date.now() > killAt) signalProcess(note.process.pid, 'SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}

/** The port that this data was served on last, when it is free; else any free one. Always a loopback port. */
export async function choosePort(noteFile: string): Promise<number> {
  const last = await lastPort(noteFile);
  if (last !== undefined && (await isFree(last))) return last;
  return freePort();
}

/** The port that this data was served on last. */
export async function lastPort(noteFile: string): Promise<number | undefined> {
  return (await readNote(noteFile))?.port;
}

/**
 * A port that was free a moment ago, below those that systems hand out to outgoing connections: a client that keeps
 * knocking at such a port while its server is down ends up connected to itself, and the server finds its port taken.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries += 1) {
    const port = randomInt(FIRST_PORT, LAST_PORT);
    if (await isFree(port)) return port;
  }
  throw new MillraceError('SERVER_START_FAILED', `no free port on 127.0.0.1 between ${FIRST_PORT} and ${LAST_PORT}`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.on('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

async function readNote(noteFile: string): Promise<Note | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(noteFile, 'utf8'));
    if (typeof value !== 'object' || value === null || !('port' in value)) return undefined;
    const { port } = value;
    if (typeof port !== 'number') return undefined;
    return { port, process: 'process' in value && isProcessStamp(value.process) ? value.process : undefined };
  } catch {
    return undefined;
  }
}

/** The supervisor and its pipes must not keep this process from ending. */
function letGo(supervisor: ChildProcess): void {
  supervisor.unref();
  for (const pipe of [supervisor.stdin, supervisor.stdout]) {
    if (pipe !== null && 'unref' in pipe && typeof pipe.unref === 'function') pipe.unref();
  }
}

/** Waits for the end, and keeps this process alive while it does. */
async function waited(supervisor: ChildProcess, exited: Promise<void>): Promise<void> {
  supervisor.ref();
  await exited;
}

function firstAnswer(supervisor: ChildProcess, exited: Promise<void>, name: string, binary: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) =>
      reject(new MillraceError('SERVER_START_FAILED', `${name} could not be started from ${binary}: ${why}`));
    let text = '';
    supervisor.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end < 0) return;
      const answer: unknown = JSON.parse(text.slice(0, end));
      if (typeof answer !== 'object' || answer === null) return fail('no answer');
      if ('pid' in answer && typeof answer.pid === 'number') return resolve(answer.pid);
      fail('failed' in answer ? String(answer.failed) : 'no answer');
    });
    supervisor.on('error', (error) => fail(error.message));
    void exited.then(() => fail('it ended at once'));
  });
}

async function readTail(logFile: string): Promise<string> {
  const text = await readFile(logFile, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
}
