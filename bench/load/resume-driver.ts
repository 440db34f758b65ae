import { MongoClient } from 'mongodb';
import { environment } from '../lib/append-contender.ts';
import { serve } from '../lib/serve.ts';
import { openRawSocket, type RawSocket } from './raw-socket.ts';

/** What is gone on with: every event of the log, or every document of a list. */
export type Watched = 'EVENTS' | 'LIST';
export interface Resume {
  readonly url: string;
  readonly watched: Watched;
  /** Of its last message; undefined: it begins. */
  readonly after?: string;
}
export interface ResumeFigures {
  /** Without CAUGHT_UP. */
  readonly messageCount: number;
  readonly perSecond: number;
  /** Of CAUGHT_UP. */
  readonly cursor: string;
}

const QUERIES: Readonly<Record<Watched, string>> = {
  EVENTS: `subscription($after: Cursor) {
    events(after: $after) { signal cursor event { position type aggregateId version data at } } }`,
  LIST: `subscription($after: Cursor) {
    accountsChanged(after: $after) { signal cursor id version node { id owner balance } } }`,
};
const CURSOR = /"cursor":"([^"]+)"/;
const READ_BATCH_COUNT = 1_000;

const client = await new MongoClient(environment('MONGODB_URL')).connect();
const db = client.db(environment('MONGODB_DATABASE'));

serve(
  {
    /** Subscribes and reads until CAUGHT_UP; the time begins when the socket is asked for. */
    async resume({ url, watched, after }: Resume): Promise<ResumeFigures> {
      const begun = performance.now();
      let messageCount = 0;
      let socket: RawSocket | undefined;
      const cursor = await new Promise<string>((resolve, reject) => {
        const take = (text: Buffer): void => {
          // The signal is the first field; what follows may be long.
          if (text.subarray(0, 100).includes('"CAUGHT_UP"')) resolve(CURSOR.exec(text.toString())?.[1] ?? '');
          else messageCount += 1;
        };
        openRawSocket(new URL(url), { query: QUERIES[watched], variables: { after } }, take, reject).then((opened) => {
          socket = opened;
        }, reject);
      });
      const perSecond = (messageCount * 1_000) / (performance.now() - begun);
      socket?.close();
      return { messageCount, perSecond, cursor };
    },
    /** The driver alone: events after a position, or as many documents of the view. Documents per second. */
    async read({ watched, count }: { readonly watched: Watched; readonly count: number }): Promise<number> {
      const begun = performance.now();
      const [name, sort] = watched === 'EVENTS' ? ['events', -1 as const] : ['view_account_g1', 1 as const];
      let read = 0;
      const options = { sort: { _id: sort }, limit: count, batchSize: READ_BATCH_COUNT };
      for await (const _document of db.collection(name).find({}, options)) read += 1;
      if (read !== count) throw new Error(`${read} documents, not ${count}`);
      return (read * 1_000) / (performance.now() - begun);
    },
  },
  () => client.close(),
);
