/** The fields of a subscription's message that the client itself looks at; those that were not selected are undefined. */
export interface ChangeMessage {
  readonly __typename?: unknown;
  readonly signal?: unknown;
  readonly cursor?: unknown;
  readonly gap?: unknown;
  readonly id?: unknown;
  readonly node?: unknown;
  readonly version?: unknown;
  readonly origins?: unknown;
  readonly event?: unknown;
}

/** The first field's value where it is an object. */
export function changeIn(data: unknown, root: string): ChangeMessage | undefined {
  if (typeof data !== 'object' || data === null) return undefined;
  const value = (data as Readonly<Record<string, unknown>>)[root];
  return typeof value === 'object' && value !== null ? value : undefined;
}

/**
 * Says which messages the caller has had: versions of a document only rise, and so do positions of the log. A message
 * without `id` and `version`, or `event { position }`, is never a repeat; without `signal` versions say nothing, because
 * a GAP, after which they begin anew, would not be seen.
 */
export class Repeats {
  readonly #versions = new Map<string, number>();
  #position: bigint | undefined;

  has({ signal, id, version, event }: ChangeMessage): boolean {
    if (signal === 'GAP') return false;
    if (typeof id === 'string' && typeof signal === 'string' && signal !== 'REMOVED' && typeof version === 'number') {
      return version <= (this.#versions.get(id) ?? -1);
    }
    const position = positionOf(event);
    return position !== undefined && this.#position !== undefined && position <= this.#position;
  }

  /** The caller has it now. */
  mark({ signal, id, version, event }: ChangeMessage): void {
    if (signal === 'GAP') this.reset();
    if (typeof id === 'string') {
      if (signal === 'REMOVED') this.#versions.delete(id);
      else if (typeof version === 'number') this.#versions.set(id, version);
    }
    this.#position = positionOf(event) ?? this.#position;
  }

  /** After a GAP: what follows may be of another build, whose versions begin anew. */
  reset(): void {
    this.#versions.clear();
    this.#position = undefined;
  }
}

function positionOf(event: unknown): bigint | undefined {
  if (typeof event !== 'object' || event === null || !('position' in event)) return undefined;
  const { position } = event;
  return typeof position === 'string' && /^\d+$/.test(position) ? BigInt(position) : undefined;
}

/** A GAP that the client itself finds, in the shape of the gateway's; only what was selected is there. */
export function localGap(
  { root, selected }: { readonly root: string; readonly selected: ReadonlySet<string> },
  reason: string,
  __typename: unknown,
): Record<string, unknown> {
  const fields = {
    __typename,
    signal: 'GAP',
    gap: reason,
    cursor: '',
    id: null,
    node: null,
    version: null,
    origins: [],
    event: null,
  };
  return { [root]: Object.fromEntries(Object.entries(fields).filter(([name]) => selected.has(name))) };
}
