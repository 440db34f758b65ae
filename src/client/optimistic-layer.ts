/** What the author of a screen says a command will do: pure, called again whenever the documents change. */
export type Optimistic<TNode> = (documents: readonly TNode[]) => readonly TNode[];

/** A document as the gateway showed it last. */
export interface ShownDocument<TNode> {
  readonly node: TNode;
  readonly version: number | undefined;
  /** Commands in it; may be cut off, see `ORIGINS_CAP`. */
  readonly origins: readonly string[];
}

/** What is known of a command that was accepted. */
export interface Accepted {
  /** Id of its aggregate; a view of that aggregate has its document under the same id. */
  readonly id: string;
  readonly version: number;
}

/** The gateway names so many commands in a change at most. With fewer, one that is not named is not in it. */
const ORIGINS_CAP = 10;

interface Pending<TNode> {
  readonly commandId: string;
  readonly apply: Optimistic<TNode>;
  /** Documents whose state from the gateway holds its effect. */
  readonly arrived: Set<string>;
  accepted: Accepted | undefined;
  /** A message named it. */
  named: boolean;
}

/**
 * Commands that were sent and whose effect has not come back yet, laid over the documents of a view. Each stays until a
 * change names it (`origins`), and then leaves the changed document in the same step: the screen shows neither the old
 * value in between nor the effect twice. Where a change cannot name all its commands, versions decide.
 */
export class OptimisticLayer<TNode> {
  readonly #pending = new Map<string, Pending<TNode>>();

  get size(): number {
    return this.#pending.size;
  }
  has(commandId: string): boolean {
    return this.#pending.has(commandId);
  }
  begin(commandId: string, apply: Optimistic<TNode>): void {
    this.#pending.set(commandId, { commandId, apply, arrived: new Set(), accepted: undefined, named: false });
  }
  accept(commandId: string, accepted: Accepted): void {
    const pending = this.#pending.get(commandId);
    if (pending !== undefined) pending.accepted = accepted;
  }
  /** Refused, failed, without effect, or waited for long enough. */
  drop(commandId: string): boolean {
    return this.#pending.delete(commandId);
  }

  /** Whether it cannot be said yet if this state of a document holds a command of ours: its receipt will tell. */
  isUnclear(id: string, { origins }: Pick<ShownDocument<TNode>, 'origins'>): boolean {
    if (origins.length < ORIGINS_CAP) return false;
    return [...this.#pending.values()].some(
      ({ commandId, arrived, accepted }) => accepted === undefined && !arrived.has(id) && !origins.includes(commandId),
    );
  }

  /** A state of a document is about to be shown; call {@link settle} when it is. */
  note(id: string, { version, origins }: Omit<ShownDocument<TNode>, 'node'>): void {
    for (const pending of this.#pending.values()) {
      const named = origins.includes(pending.commandId);
      const { accepted } = pending;
      const cut = origins.length >= ORIGINS_CAP && accepted?.id === id && (version ?? 0) >= accepted.version;
      if (!named && !cut) continue;
      pending.named = true;
      pending.arrived.add(id);
    }
  }
  /** A document is gone, whoever did it: nothing of ours can come for it. */
  noteRemoved(id: string, origins: readonly string[]): void {
    for (const pending of this.#pending.values()) {
      pending.arrived.add(id);
      if (origins.includes(pending.commandId)) pending.named = true;
    }
  }

  /** Lets those go whose effect has arrived wherever they show one. */
  settle(documents: ReadonlyMap<string, ShownDocument<TNode>>): void {
    const nodes = [...documents.values()].map(({ node }) => node);
    for (const pending of [...this.#pending.values()]) {
      if (!pending.named) continue;
      const open = changedIds(nodes, this.#applied(pending, nodes)).filter((id) => documents.has(id));
      if (open.every((id) => pending.arrived.has(id))) this.#pending.delete(pending.commandId);
    }
  }

  /** The documents with everything that is under way. */
  over(documents: readonly TNode[]): readonly TNode[] {
    let shown = documents;
    for (const pending of [...this.#pending.values()]) {
      shown = merged(shown, this.#applied(pending, shown), pending.arrived);
    }
    return shown;
  }

  #applied(pending: Pending<TNode>, documents: readonly TNode[]): readonly TNode[] {
    try {
      return pending.apply(documents);
    } catch {
      // It worked when the command was sent. A screen that goes on without it is better than none.
      this.#pending.delete(pending.commandId);
      return documents;
    }
  }
}

export function idOf(node: unknown): string | undefined {
  const id = typeof node === 'object' && node !== null && 'id' in node ? node.id : undefined;
  return typeof id === 'string' ? id : undefined;
}

const byId = <TNode>(nodes: readonly TNode[]): Map<string, TNode> =>
  new Map(nodes.flatMap((node) => [[idOf(node) ?? '', node] as const]));

/** Ids that were changed, added or taken away. */
function changedIds<TNode>(before: readonly TNode[], after: readonly TNode[]): string[] {
  const [old, now] = [byId(before), byId(after)];
  const changed = [...now].filter(([id, node]) => old.get(id) !== node).map(([id]) => id);
  return [...changed, ...[...old.keys()].filter((id) => !now.has(id))];
}

/** `after`, but `before` for the documents of `arrived`. */
function merged<TNode>(
  before: readonly TNode[],
  after: readonly TNode[],
  arrived: ReadonlySet<string>,
): readonly TNode[] {
  if (arrived.size === 0) return after;
  const old = byId(before);
  const now = byId(after);
  const kept = after.flatMap((node) => {
    const id = idOf(node) ?? '';
    if (!arrived.has(id)) return [node];
    const shown = old.get(id);
    return shown === undefined ? [] : [shown];
  });
  const lost = before.filter((node) => {
    const id = idOf(node) ?? '';
    return arrived.has(id) && !now.has(id);
  });
  return [...kept, ...lost];
}
