/**
 * Makes one piece of work serve all who ask for it at the same time: everybody gets a run that *starts after* they
 * asked, so what it reads is not older than the call. At most one run is under way and one is waiting.
 */
export function coalesce<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  let waiting: Promise<T> | undefined;
  const run = (): Promise<T> => {
    const current = work().finally(() => {
      if (running === current) running = undefined;
    });
    running = current;
    return current;
  };
  return () => {
    if (running === undefined) return run();
    waiting ??= running
      .catch(() => undefined)
      .then(() => {
        waiting = undefined;
        return run();
      });
    return waiting;
  };
}

/**
 * Collects the keys that are asked for in one turn of the event loop and reads each once; callers with the same key
 * share the answer. The read starts after every call that it serves.
 */
export function batchByKey<Key, Value>(
  read: (keys: readonly Key[]) => Promise<ReadonlyMap<Key, Value>>,
): (key: Key) => Promise<Value | undefined> {
  let collecting: { readonly keys: Set<Key>; readonly answer: Promise<ReadonlyMap<Key, Value>> } | undefined;
  return async (key) => {
    if (collecting === undefined) {
      const keys = new Set<Key>();
      const answer = endOfTurn().then(() => {
        collecting = undefined;
        return read([...keys]);
      });
      collecting = { keys, answer };
    }
    collecting.keys.add(key);
    return (await collecting.answer).get(key);
  };
}

/** Equal reads of one turn of the event loop share an answer. The read starts after every call that it serves. */
export function shareByKey<Value>(): (key: string, read: () => Promise<Value>) => Promise<Value> {
  const collecting = new Map<string, Promise<Value>>();
  return (key, read) => {
    const known = collecting.get(key);
    if (known !== undefined) return known;
    const answer = endOfTurn().then(() => {
      collecting.delete(key);
      return read();
    });
    collecting.set(key, answer);
    return answer;
  };
}

const endOfTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
