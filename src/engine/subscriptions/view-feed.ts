import { MillraceError } from '../../errors.ts';
import type { ViewHint } from '../log/hint-bus.ts';
import type { ViewHandle } from '../views/view-handles.ts';
import { type FeedDeps, FeedRun } from './feed-run.ts';

/** The feed of one view in this process: it runs while somebody subscribes, and a little longer. */
export interface ViewFeed {
  readonly view: string;
  /** Starts the feed when it stands. The run is good until `release`, which is called once. Throws SHUTTING_DOWN. */
  acquire(): Promise<FeedLease>;
  note(hint: ViewHint): void;
  /** Whether it reads and listens, and how many listen to it. */
  readonly state: { readonly running: boolean; readonly listenerCount: number };
  close(): void;
}
export interface FeedLease {
  readonly run: FeedRun;
  release(): void;
}

export function createViewFeed(view: ViewHandle, deps: FeedDeps): ViewFeed {
  let current: { readonly run: FeedRun; readonly started: Promise<void> } | undefined;
  let leases = 0;
  let closed = false;
  let grace: NodeJS.Timeout | undefined;

  const stop = (): void => {
    current?.run.stop();
    current = undefined;
  };
  const release = (): void => {
    leases--;
    if (leases > 0 || closed) return;
    grace = setTimeout(() => {
      if (leases === 0) stop();
    }, deps.timing.graceMs);
    grace.unref();
  };
  const begin = (): NonNullable<typeof current> => {
    const run = new FeedRun(view, deps);
    return { run, started: run.start() };
  };

  return {
    view: view.build.view,
    async acquire() {
      if (closed) throw new MillraceError('SHUTTING_DOWN', 'This process is stopping. Subscribe again.');
      clearTimeout(grace);
      leases++;
      current ??= begin();
      const { run, started } = current;
      try {
        await started;
      } catch (error) {
        if (current?.run === run) stop();
        release();
        throw error;
      }
      let released = false;
      return {
        run,
        release: () => {
          if (!released) release();
          released = true;
        },
      };
    },
    note: (hint) => current?.run.note(hint),
    get state() {
      return { running: current !== undefined, listenerCount: current?.run.audience.size ?? 0 };
    },
    close() {
      closed = true;
      clearTimeout(grace);
      stop();
    },
  };
}
