import { freezeJson } from '../../define/frozen.ts';
import { ORIGINS_CAP, type Origin, type ViewDocument } from '../../store/documents.ts';
import { roughBytes } from '../../store/rough-bytes.ts';

/** A view document as a partition knows it. Never changed (the author's fields are frozen): every change makes a new one. */
export interface DocumentState {
  /** The author's fields; undefined when there is no such document (never, or removed). */
  readonly author: Readonly<Record<string, unknown>> | undefined;
  /** 0 when it never was. */
  readonly version: number;
  readonly position: number;
  /** Partition revision that wrote it. */
  readonly revision: number;
  readonly origins: readonly Origin[];
  readonly bytes: number;
}
export const ABSENT: DocumentState = {
  author: undefined,
  version: 0,
  position: 0,
  revision: 0,
  origins: [],
  bytes: 32,
};

export function stateOf(document: ViewDocument): DocumentState {
  const { _id, _partition, _revision, _position, _version, _origins, _deleted, ...author } = document;
  return {
    author: _deleted === undefined ? freezeJson(author) : undefined,
    version: _version,
    position: _position,
    revision: _revision,
    origins: _origins,
    bytes: roughBytes(author),
  };
}

/** The document after a change; `author` undefined removes it. */
export function changed(
  before: DocumentState,
  author: Readonly<Record<string, unknown>> | undefined,
  change: { readonly position: number; readonly revision: number; readonly commandId: string },
): DocumentState {
  const { position, revision, commandId } = change;
  const last = before.origins.at(-1);
  const same = last?.commandId === commandId && last.revision === revision;
  const origins = same ? before.origins : [...before.origins.slice(1 - ORIGINS_CAP), { commandId, revision }];
  return { author, version: before.version + 1, position, revision, origins, bytes: 32 + roughBytes(author) };
}

export function documentOf(key: string, partition: number, state: DocumentState): ViewDocument {
  const marks = {
    _id: key,
    _partition: partition,
    _revision: state.revision,
    _position: state.position,
    _version: state.version,
    _origins: state.origins,
  };
  // `_id` first, or MongoDB builds the document anew; the other marks last, so that nothing of the author's replaces them.
  if (state.author === undefined) return { ...marks, _deleted: new Date() };
  return Object.assign({ _id: key }, state.author, marks);
}

/** Documents of one partition, valid as long as nobody else writes it; the longest unused go first. */
export class DocumentCache {
  readonly #states = new Map<string, DocumentState>();
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get(key: string): DocumentState | undefined {
    const state = this.#states.get(key);
    if (state === undefined) return undefined;
    this.#states.delete(key);
    this.#states.set(key, state);
    return state;
  }

  set(key: string, state: DocumentState): void {
    this.#bytes += cost(key, state) - cost(key, this.#states.get(key));
    this.#states.delete(key);
    this.#states.set(key, state);
  }

  /** Forgets the longest unused beyond the limit, but none that is newer than the database. */
  shrink(committedRevision: number): void {
    if (this.#bytes <= this.#maxBytes) return;
    for (const [key, state] of this.#states) {
      if (state.revision > committedRevision) continue;
      this.#states.delete(key);
      this.#bytes -= cost(key, state);
      if (this.#bytes <= this.#maxBytes * 0.9) return;
    }
  }

  clear(): void {
    this.#states.clear();
    this.#bytes = 0;
  }
}

/** What an entry takes in memory, by estimate: origins and the map itself included. */
const cost = (key: string, state: DocumentState | undefined): number =>
  state === undefined ? 0 : 200 + key.length * 2 + state.bytes * 2 + state.origins.length * 100;
