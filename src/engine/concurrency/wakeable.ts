/** A sleeper that others can wake. A wake while nobody sleeps is remembered for the next sleep. */
export interface Wakeable {
  readonly wake: () => void;
  /** Resolves with `woken` at a wake or when the signal aborts, with `time` after `ms`. One sleeper at a time. */
  sleep(ms: number): Promise<'woken' | 'time'>;
}

export function wakeable(signal: AbortSignal): Wakeable {
  let remembered = false;
  let rouse: (() => void) | undefined;
  const wake = (): void => {
    if (rouse === undefined) remembered = true;
    else rouse();
  };
  return {
    wake,
    sleep: (ms) =>
      new Promise((resolve) => {
        if (remembered || signal.aborted) {
          remembered = false;
          resolve('woken');
          return;
        }
        const end = (how: 'woken' | 'time'): void => {
          clearTimeout(timer);
          signal.removeEventListener('abort', wake);
          rouse = undefined;
          resolve(how);
        };
        const timer = setTimeout(() => end('time'), ms);
        signal.addEventListener('abort', wake);
        rouse = () => end('woken');
      }),
  };
}
