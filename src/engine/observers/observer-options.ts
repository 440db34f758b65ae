import type { ObserverModel } from '../../define/model.ts';
import type { RunnerOptions } from '../partitions/consumer-runner.ts';
import type { ObserverTries } from './observer-tries.ts';

export interface ObserverRunnerOptions extends Omit<RunnerOptions, 'handler'> {
  readonly consumer: ObserverModel;
  readonly tries: ObserverTries;
  /** Position up to which events were handled before a reset; undefined: none. */
  readonly replayUntil: () => Promise<number | undefined>;
  /** Nothing runs here any more. */
  readonly onStopped?: () => Promise<void>;
}
