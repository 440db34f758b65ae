import { abortable } from 'millrace/graphql';
import { expect, test } from 'vitest';

/** A source that waits for ever after `first`, and tells when it was let go. */
function parked(first: readonly number[]) {
  const seen = { made: 0, ended: 0 };
  async function* source(signal: AbortSignal): AsyncGenerator<number> {
    seen.made += 1;
    try {
      yield* first;
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => resolve(), { once: true });
        if (signal.aborted) resolve();
      });
    } finally {
      seen.ended += 1;
    }
  }
  return { seen, source };
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a reader that leaves ends a source that waits, and its open next() is answered', async () => {
  const { seen, source } = parked([1]);
  const values = abortable(new AbortController().signal, source);
  expect(await values.next()).toEqual({ done: false, value: 1 });
  const open = values.next();
  expect(await values.return?.()).toEqual({ done: true, value: undefined });
  expect(await open).toEqual({ done: true, value: undefined });
  await turn();
  expect(seen).toEqual({ made: 1, ended: 1 });
});

test('a client that is gone ends it too', async () => {
  const { seen, source } = parked([]);
  const client = new AbortController();
  const open = abortable(client.signal, source).next();
  client.abort();
  expect(await open).toEqual({ done: true, value: undefined });
  await turn();
  expect(seen.ended).toBe(1);
});

test('what is never read is never started', async () => {
  const { seen, source } = parked([1]);
  const client = new AbortController();
  const values = abortable(client.signal, source);
  await values.return?.();
  expect(await values.next()).toEqual({ done: true, value: undefined });
  client.abort();
  expect(await abortable(client.signal, source).next()).toEqual({ done: true, value: undefined });
  expect(seen.made).toBe(0);
});

test('what the source refuses is refused at once, and nothing stays with the client', () => {
  const client = new AbortController();
  const refuse = (): never => {
    throw new Error('refused');
  };
  expect(() => abortable(client.signal, refuse)).toThrow('refused');
  client.abort();
});

test('an error of the source reaches the reader once, then the end', async () => {
  const values = abortable(new AbortController().signal, async function* () {
    yield 1;
    throw new Error('broken');
  });
  await values.next();
  await expect(values.next()).rejects.toThrow('broken');
  expect(await values.next()).toEqual({ done: true, value: undefined });
});
