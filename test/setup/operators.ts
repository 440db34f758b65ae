import { z } from 'zod';
import { schemaOf } from '../../resolvers/index.ts';
import { aggregate, module, projector, readSettings, start, view } from '../../src/index.ts';
import { connect } from '../../src/store/connect.ts';
import type { DeadLetterDocument, ParkedEventDocument } from '../../src/store/documents.ts';
import { type GraphqlAnswer, post } from './gateway.ts';
import { patient } from './patient.ts';
import { type TestServers, testServers } from './servers.ts';
import { logger } from './test-worker.ts';
import { until } from './until.ts';

/** Parcels that are moved; the handler of `places` fails where the test says so. */
export const parcel = aggregate({
  name: 'parcel',
  events: { Moved: z.object({ to: z.string() }) },
  commands: { Move: z.object({ to: z.string() }) },
  initial: () => null,
  evolve: { Moved: () => null },
  decide: { Move: (_state, data) => ({ type: 'Moved', data }) },
});

/** What the handler throws for a place, or nothing. */
export type Trouble = (place: string, id: string) => unknown;

export interface Bugs {
  trouble: Trouble;
}

export function parcels(bugs: Bugs, attempts = 1, version = 1) {
  const fields = z.object({ id: z.string(), place: z.string(), moves: z.int() });
  const placeView = view('place', fields, { indexes: [{ place: 1 }] });
  const countView = view('moveCount', z.object({ id: z.string(), count: z.int() }));
  const places = projector({
    name: 'places',
    from: [parcel],
    into: placeView,
    version,
    attempts,
    backoff: { type: 'fixed', delayMs: 100, jitter: 0 },
    on: {
      Moved: (doc, { stream, data }) => {
        const trouble = bugs.trouble(data.to, stream.id);
        if (trouble !== undefined) throw trouble;
        return { id: stream.id, place: data.to, moves: (doc?.moves ?? 0) + 1 };
      },
    },
  });
  const counts = projector({
    name: 'counts',
    from: [parcel],
    into: countView,
    version: 1,
    key: () => 'all',
    on: { Moved: (doc) => ({ id: 'all', count: (doc?.count ?? 0) + 1 }) },
  });
  return module({ name: 'parcels', parts: [parcel, placeView, countView, places, counts] });
}

/** All roles in this process, with a gateway. */
export async function startParcels(
  bugs: Bugs,
  options: {
    readonly servers?: TestServers;
    readonly attempts?: number;
    /** Of `places`. */
    readonly version?: number;
    readonly role?: 'all' | 'gateway' | 'worker';
    readonly env?: Readonly<Record<string, string>>;
  } = {},
) {
  const servers = options.servers ?? testServers();
  const modules = [parcels(bugs, options.attempts, options.version)];
  const app = await start({
    modules,
    schema: schemaOf(modules),
    role: options.role ?? 'all',
    settings: readSettings({
      MONGODB_URL: servers.mongoUrl,
      MONGODB_DATABASE: servers.database,
      REDIS_URL: servers.redisUrl,
      REDIS_PREFIX: servers.prefix,
      SWEEP_INTERVAL_MS: '250',
      PORT: '0',
      ...patient,
      ...options.env,
    }),
    logger,
  });
  const { client, db } = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  const ask = (query: string, variables?: object): Promise<GraphqlAnswer> =>
    post(app.url ?? '', JSON.stringify({ query, variables }));
  return {
    app,
    servers,
    url: app.url ?? '',
    letters: db.collection<DeadLetterDocument>('dead_letters'),
    parked: db.collection<ParkedEventDocument>('parked_events'),
    db,
    move: (id: string, to: string) => app.send(parcel, id, { type: 'Move', data: { to } }),
    ask,
    /** The data of an operation that is expected to succeed. */
    async data(query: string, variables?: object) {
      const { data, errors } = await ask(query, variables);
      if (errors.length > 0) throw new Error(JSON.stringify(errors));
      return data;
    },
    /** The code that an operation is refused with. */
    async code(query: string, variables?: object): Promise<unknown> {
      const { errors } = await ask(query, variables);
      return errors[0]?.extensions.code ?? 'no error';
    },
    blocked: (count: number, state: 'RETRYING' | 'DEAD' = 'DEAD') =>
      until(`${count} dead letters are ${state}`, async () => {
        const seen = await db.collection('dead_letters').countDocuments({ state });
        return seen === count ? true : undefined;
      }),
    async stop() {
      await app.stop();
      await client.close();
    },
  };
}
export type Parcels = Awaited<ReturnType<typeof startParcels>>;
