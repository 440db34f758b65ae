/**
 * Collects what comes while a write is under way: it goes together with the next one. `write` answers for each item, in
 * their order; when it throws, all of its callers get that error.
 */
export function batchWhileBusy<Item, Result>(
  write: (items: readonly Item[]) => Promise<readonly Result[]>,
  options: { readonly maxCount: number; readonly writersCount?: number },
): (item: Item) => Promise<Result> {
  const { maxCount, writersCount = 2 } = options;
  let waiting: Waiting<Item, Result>[] = [];
  let underWayCount = 0;
  let starting = false;
  const start = (): void => {
    if (starting || waiting.length === 0 || underWayCount >= writersCount) return;
    starting = true;
    // What comes in one turn of the event loop belongs together.
    setImmediate(() => {
      starting = false;
      const batch = waiting.slice(0, maxCount);
      waiting = waiting.slice(maxCount);
      underWayCount++;
      write(batch.map(({ item }) => item))
        .then(
          (results) => {
            for (const [index, { resolve }] of batch.entries()) resolve(results[index] as Result);
          },
          (error: unknown) => {
            for (const { reject } of batch) reject(error);
          },
        )
        .finally(() => {
          underWayCount--;
          start();
        });
      start();
    });
  };
  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject });
      start();
    });
}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}
