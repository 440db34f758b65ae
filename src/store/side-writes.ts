/** Collections that partitions write besides view documents, in their own transactions. */
export type SideCollection =
  | 'dead_letters'
  | 'parked_events'
  | 'queued_commands'
  | 'timers'
  | 'saga_keys'
  | 'observer_journal'
  | 'operation_parts'
  | 'audit';

/** What becomes of one document. */
export type SideOperation =
  /** Written whole, whether it exists or not. */
  | { readonly kind: 'put'; readonly document: SideDocument }
  /** Written unless one with this id exists. */
  | { readonly kind: 'add'; readonly document: SideDocument }
  /** Fields of a document that exists; `undefined` takes the field away. Nothing happens when there is no such document. */
  | { readonly kind: 'set'; readonly fields: Fields }
  /** Counters rise; the document begins with these fields when there is none. */
  | { readonly kind: 'count'; readonly document: SideDocument; readonly increase: Increase }
  | { readonly kind: 'remove' };

interface SideDocument {
  readonly _id: string;
}
type Fields = Readonly<Record<string, unknown>>;
/** By how much counters of a document rise. */
type Increase = Readonly<Record<string, number>>;

/**
 * Writes of a partition's transaction besides its view documents: one operation a document, later ones are merged into it.
 * What the partition's revision fences needs no condition of its own.
 */
export class SideWrites {
  readonly #byCollection = new Map<SideCollection, Map<string, SideOperation>>();

  put(collection: SideCollection, document: SideDocument): void {
    this.#of(collection).set(document._id, { kind: 'put', document });
  }

  add(collection: SideCollection, document: SideDocument): void {
    const operations = this.#of(collection);
    const before = operations.get(document._id);
    if (before === undefined) operations.set(document._id, { kind: 'add', document });
    else if (before.kind === 'remove') operations.set(document._id, { kind: 'put', document });
  }

  set(collection: SideCollection, id: string, fields: Fields): void {
    const operations = this.#of(collection);
    const before = operations.get(id);
    if (before?.kind === 'put' || before?.kind === 'add') {
      operations.set(id, { kind: before.kind, document: { ...before.document, ...fields } });
    } else if (before === undefined || before.kind === 'set') {
      operations.set(id, { kind: 'set', fields: { ...before?.fields, ...fields } });
    }
  }

  /** Of a document that is only counted: nothing else writes it in the same transaction. */
  count(collection: SideCollection, document: SideDocument, increase: Increase): void {
    const operations = this.#of(collection);
    const before = operations.get(document._id);
    const sums: Record<string, number> = { ...(before?.kind === 'count' && before.increase) };
    for (const [field, by] of Object.entries(increase)) sums[field] = (sums[field] ?? 0) + by;
    operations.set(document._id, { kind: 'count', document, increase: sums });
  }

  remove(collection: SideCollection, id: string): void {
    this.#of(collection).set(id, { kind: 'remove' });
  }

  /** Does what `later` says after what this says. */
  merge(later: SideWrites): void {
    for (const [collection, operations] of later) {
      for (const [id, operation] of operations) {
        if (operation.kind === 'put') this.put(collection, operation.document);
        else if (operation.kind === 'add') this.add(collection, operation.document);
        else if (operation.kind === 'set') this.set(collection, id, operation.fields);
        else if (operation.kind === 'count') this.count(collection, operation.document, operation.increase);
        else this.remove(collection, id);
      }
    }
  }

  get isEmpty(): boolean {
    return this.#byCollection.size === 0;
  }

  /** What is to become of one document; undefined: nothing. */
  of(collection: SideCollection, id: string): SideOperation | undefined {
    return this.#byCollection.get(collection)?.get(id);
  }

  [Symbol.iterator](): IterableIterator<[SideCollection, ReadonlyMap<string, SideOperation>]> {
    return this.#byCollection.entries();
  }

  #of(collection: SideCollection): Map<string, SideOperation> {
    const known = this.#byCollection.get(collection);
    if (known !== undefined) return known;
    const created = new Map<string, SideOperation>();
    this.#byCollection.set(collection, created);
    return created;
  }
}
