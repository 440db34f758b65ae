import type { EventMap } from './event.ts';

/** When the state of a long stream is kept, so that a cold load need not fold all of it. */
export interface SnapshotOptions {
  /** Events between two snapshots of a stream, at least; default 1,000. */
  readonly every?: number;
  /**
   * Raise it when `evolve` makes another state of the same events. Changes in the text of `initial`, `evolve` and upcasters and in the
   * versions of events are seen by themselves; what these functions call, and what a build replaces in them, is not.
   */
  readonly version: number;
}
export interface SnapshotRule {
  readonly every: number;
  readonly version: number;
  /** Text of all that makes the state, as far as it can be seen. */
  readonly reducer: string;
}

const EVERY = 1_000;

/** What of the rule and the code decides whether a snapshot still fits. */
export function snapshotRule(
  options: SnapshotOptions | undefined,
  reducer: {
    readonly initial: unknown;
    readonly evolve: object;
    readonly events: EventMap;
    readonly closes: readonly string[];
  },
): SnapshotRule | undefined {
  if (options === undefined) return undefined;
  const { initial, evolve, events, closes } = reducer;
  const byName = (map: object): readonly (readonly [string, unknown])[] =>
    Object.entries(map ?? {}).sort(([one], [other]) => (one < other ? -1 : 1));
  const text = [
    String(initial),
    ...byName(evolve).map(([type, fold]) => `${type}: ${String(fold)}`),
    ...byName(events).flatMap(([type, source]) =>
      isVersioned(source)
        ? [`${type} v${source.version}`, ...byName(source.upcast).map(([from, upcast]) => `${from}: ${String(upcast)}`)]
        : [`${type} v1`],
    ),
    `closes ${[...closes].sort().join()}`,
  ];
  return { every: options.every ?? EVERY, version: options.version, reducer: text.join('\n') };
}

const isVersioned = (source: unknown): source is { readonly version: number; readonly upcast: object } =>
  typeof source === 'object' && source !== null && 'kind' in source && source.kind === 'event' && 'upcast' in source;
