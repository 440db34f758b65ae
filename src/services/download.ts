import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Report } from './report.ts';

/** A host that refuses or does not answer must not hold a start up: the next source is a better use of the time. */
const ANSWER_TIMEOUT_MS = 3_000;
const STALL_TIMEOUT_MS = 20_000;

export interface DownloadOptions {
  readonly url: string;
  readonly target: string;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly label: string;
  readonly report: Report;
  readonly signal?: AbortSignal | undefined;
}

/** Fetches a file and checks its hash; on any failure nothing is left at `target` and the error says why, in a line. */
export async function download({ url, target, sha256, label, report, signal }: DownloadOptions): Promise<void> {
  const { body, contentBytes, watch } = await request(url, signal);
  const progress = report.progress(label, contentBytes);
  const hash = createHash('sha256');
  let doneBytes = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      watch.refresh();
      hash.update(chunk);
      doneBytes += chunk.length;
      progress.update(doneBytes);
      done(null, chunk);
    },
  });
  try {
    await pipeline(body, count, createWriteStream(target));
    checkHash(hash.digest('hex'), sha256, url);
  } catch (error) {
    await rm(target, { force: true });
    throw describeFailure(error, url);
  } finally {
    watch.end();
    progress.end();
  }
}

/** A small text, such as a published hash. */
export async function downloadText(url: string, signal?: AbortSignal): Promise<string> {
  const { body, watch } = await request(url, signal);
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    throw describeFailure(error, url);
  } finally {
    watch.end();
  }
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

export function checkHash(found: string, expected: string, what: string): void {
  if (found !== expected) throw new Error(`${what} has sha256 ${found}, expected ${expected}: not used`);
}

interface Answer {
  readonly body: Readable;
  readonly contentBytes: number;
  readonly watch: { refresh(): void; end(): void };
}

async function request(url: string, signal: AbortSignal | undefined): Promise<Answer> {
  const abort = new AbortController();
  const onAbort = () => abort.abort(new Error('interrupted'));
  signal?.addEventListener('abort', onAbort, { once: true });
  let timer = setTimeout(() => abort.abort(new Error(noAnswer(ANSWER_TIMEOUT_MS))), ANSWER_TIMEOUT_MS);
  const watch = {
    refresh: () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(new Error(noAnswer(STALL_TIMEOUT_MS))), STALL_TIMEOUT_MS);
    },
    end: () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    },
  };
  try {
    signal?.throwIfAborted();
    const response = await fetch(url, { signal: abort.signal });
    if (!response.ok || response.body === null) throw new Error(`answered ${response.status}`);
    watch.refresh();
    const contentBytes = Number(response.headers.get('content-length') ?? 0);
    return { body: Readable.from(response.body), contentBytes, watch };
  } catch (error) {
    watch.end();
    abort.abort();
    throw describeFailure(error, url);
  }
}

function noAnswer(limitMs: number): string {
  return `no answer within ${limitMs / 1_000} s`;
}

function describeFailure(error: unknown, url: string): Error {
  // fetch says "fetch failed"; what happened is in its cause.
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const text = cause instanceof Error ? cause.message : String(cause);
  const { host } = new URL(url);
  return new Error(text.includes(host) ? text : `${host}: ${text}`, { cause: error });
}
