import type { ViewChange } from '../../src/engine/contract/runtime.ts';
import { decodeViewCursor } from '../../src/engine/views/cursor.ts';
import { checkFilter, matches } from '../../src/engine/views/view-filter.ts';
import { toRecord } from '../../src/engine/views/view-handles.ts';
import { until } from '../setup/until.ts';
import { filterOf, type Gateway, type Item, type ReadsFixture } from './reads-fixture.ts';

export type Conditions = Parameters<typeof filterOf>[0];
export const item = (rank: number, group = 'a'): Item => ({ group, rank });

export interface WatchOptions {
  readonly of?: Gateway;
  readonly after?: string | undefined;
  /** What it has from before. */
  readonly documents?: Map<string, ViewChange['node']>;
  /** It leaves after so many messages. */
  readonly leaveAfter?: number;
}

/** What a client has after each message; checks on the way that versions only rise and cursors never go back. */
export class Client {
  readonly messages: ViewChange[] = [];
  readonly documents: Map<string, ViewChange['node']>;
  readonly problems: string[] = [];
  readonly #controller = new AbortController();
  readonly #versions = new Map<string, number>();
  readonly ended: Promise<void>;
  readonly isList: boolean;
  readonly #leaveAfter: number;
  #revisions: readonly number[] = [];
  caughtUp = false;

  constructor(open: (signal: AbortSignal) => AsyncIterable<ViewChange>, isList: boolean, options: WatchOptions) {
    this.isList = isList;
    this.documents = options.documents ?? new Map();
    // What was sent before its last cursor was may come once more.
    for (const [id, node] of this.documents) this.#versions.set(id, (node?.version ?? 0) - 0.5);
    this.#leaveAfter = options.leaveAfter ?? Number.POSITIVE_INFINITY;
    this.ended = this.#run(open(this.#controller.signal));
  }
  leave(): Promise<void> {
    this.#controller.abort();
    return this.ended;
  }
  async #run(stream: AsyncIterable<ViewChange>): Promise<void> {
    for await (const message of stream) {
      this.#take(message);
      if (this.messages.length >= this.#leaveAfter) return;
    }
  }
  #take(message: ViewChange): void {
    this.messages.push(message);
    const { signal, id, node, cursor } = message;
    if (signal === 'GAP') {
      this.documents.clear();
      this.#versions.clear();
      this.#revisions = [];
      this.caughtUp = false;
    }
    const { revisions } = decodeViewCursor(cursor);
    if (this.#revisions.some((revision, partition) => (revisions[partition] ?? 0) < revision)) {
      this.problems.push(`the cursor went back: ${this.#revisions.join()} to ${revisions.join()}`);
    }
    this.#revisions = revisions;
    if (signal === 'CAUGHT_UP') this.caughtUp = true;
    if (id === null) return;
    const version = node?.version;
    if (version !== undefined && version <= (this.#versions.get(id) ?? 0)) {
      this.problems.push(`${id} went from version ${this.#versions.get(id)} to ${version}`);
    }
    if (signal === 'SNAPSHOT' && this.caughtUp) this.problems.push(`SNAPSHOT of ${id} after CAUGHT_UP`);
    if (version !== undefined) this.#versions.set(id, version);
    if (signal === 'REMOVED' || node === null) this.documents.delete(id);
    else this.documents.set(id, node);
  }
}
/** Clients of a gateway, and what they should have in the end. */
export function watching(fixture: ReadsFixture, gateway: Gateway) {
  const watchOne = (id: string, options: WatchOptions = {}): Client => {
    const { reads } = options.of ?? gateway;
    return new Client((signal) => reads.watchDocument('item', id, options.after, signal), false, options);
  };
  const watchList = (filter?: Conditions, options: WatchOptions = {}): Client => {
    const { reads } = options.of ?? gateway;
    const wanted = filter && filterOf(filter);
    return new Client((signal) => reads.watchDocuments('item', wanted, options.after, signal), true, options);
  };
  const signals = ({ messages }: Client): string[] => messages.map(({ signal }) => signal);
  const message = (client: Client, count: number): Promise<ViewChange> =>
    until(`${count} messages`, () => client.messages[count - 1], { seen: () => client.messages });

  /** Documents that exist and match, as a client should have them. */
  function living(filter: Conditions = {}): Map<string, ViewChange['node']> {
    const checked = checkFilter(filterOf(filter));
    const documents = [...fixture.written.values()].filter(
      (one) => one._deleted === undefined && matches(checked, one),
    );
    return new Map(documents.map((one) => [one._id, toRecord(one)]));
  }
  const versionsOf = (documents: ReadonlyMap<string, ViewChange['node']>): string[] =>
    [...documents].map(([id, node]) => `${id} v${node?.version}`).sort();
  const level = (client: Client, filter?: Conditions): Promise<true> =>
    until(
      'the client has what the view has',
      () => (String(versionsOf(client.documents)) === String(versionsOf(living(filter))) ? true : undefined),
      { seen: () => difference(client, living(filter)) },
    );
  const difference = (client: Client, expected: Map<string, ViewChange['node']>): unknown => {
    const [mine, theirs] = [new Set(versionsOf(client.documents)), new Set(versionsOf(expected))];
    return {
      onlyClient: [...mine].filter((one) => !theirs.has(one)),
      onlyView: [...theirs].filter((one) => !mine.has(one)),
    };
  };

  /** Reads of the view's documents so far. */
  async function reads(): Promise<number> {
    const { totals } = await fixture.connection.client.db('admin').command({ top: 1 });
    return Number(totals[fixture.collection.namespace]?.queries?.count ?? 0);
  }

  return { watchOne, watchList, signals, message, living, versionsOf, level, reads };
}
