import { z } from 'zod';
import { schemaOf } from '../../resolvers/index.ts';
import { aggregate, module, projector, readSettings, type SwapRule, start, view } from '../../src/index.ts';
import { connect } from '../../src/store/connect.ts';
import type { ViewDocument } from '../../src/store/documents.ts';
import { type GraphqlAnswer, post } from './gateway.ts';
import type { TestServers } from './servers.ts';
import { logger } from './test-worker.ts';
import { until } from './until.ts';

/** Items in stock. Version 2 of the view counts changes, too, and leaves out what version 1 had wrong. */
export const item = aggregate({
  name: 'item',
  events: { Stocked: z.object({ count: z.int(), note: z.string().optional() }) },
  commands: { Stock: z.object({ count: z.int(), note: z.string().optional() }) },
  initial: () => null,
  evolve: { Stocked: () => null },
  decide: { Stock: (_state, data) => ({ type: 'Stocked', data }) },
});

const v1 = view('stock', z.object({ id: z.string(), count: z.int() }), { indexes: [{ count: 1 }] });
const v2 = view('stock', z.object({ id: z.string(), count: z.int(), changes: z.int().optional() }), {
  indexes: [{ count: 1 }],
});

export interface StockOptions {
  readonly version: 1 | 2;
  /** The new code carries the old projector. */
  readonly carries?: boolean;
  readonly swap?: SwapRule;
  /** Throws in version 2. */
  readonly breaks?: (note: string) => boolean;
  /** Ends as late as the test says, in version 2. */
  readonly onEvent?: () => void;
}

export function stockModules({ version, carries = false, swap, breaks, onEvent }: StockOptions) {
  const older = projector({
    name: 'stocks',
    version: 1,
    from: [item],
    into: v1,
    on: { Stocked: (doc, { stream, data }) => ({ id: stream.id, count: (doc?.count ?? 0) + data.count }) },
  });
  const newer = projector({
    name: 'stocks',
    version: 2,
    from: [item],
    into: v2,
    attempts: 1,
    ...(swap && { swap }),
    ...(carries && { previous: older }),
    on: {
      Stocked: (doc, { stream, data }) => {
        onEvent?.();
        if (breaks?.(data.note ?? '') === true) throw new Error(`cannot read ${data.note}`);
        if (data.note === 'void') return undefined;
        return { id: stream.id, count: (doc?.count ?? 0) + data.count, changes: (doc?.changes ?? 0) + 1 };
      },
    },
  });
  return [module({ name: 'stock', parts: [item, version === 1 ? v1 : v2, version === 1 ? older : newer] })];
}

export async function startStock(
  servers: TestServers,
  options: StockOptions & {
    readonly role?: 'all' | 'gateway' | 'worker';
    readonly env?: Readonly<Record<string, string>>;
  },
) {
  const modules = stockModules(options);
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
      ...options.env,
    }),
    logger,
  });
  const ask = (query: string, variables?: object): Promise<GraphqlAnswer> =>
    post(app.url ?? '', JSON.stringify({ query, variables }));
  const data = async (query: string, variables?: object) => {
    const answer = await ask(query, variables);
    if (answer.errors.length > 0) throw new Error(JSON.stringify(answer.errors));
    return answer.data;
  };
  let stopped: Promise<void> | undefined;
  return {
    app,
    url: app.url ?? '',
    ask,
    data,
    stock: async (id: string, count: number, note?: string) => {
      const outcome = await app.send(item, id, { type: 'Stock', data: { count, ...(note && { note }) } });
      if (outcome.kind !== 'accepted') throw new Error(outcome.kind);
      return outcome.token;
    },
    code: async (query: string, variables?: object): Promise<unknown> => {
      const { errors } = await ask(query, variables);
      return errors[0]?.extensions.code ?? 'no error';
    },
    /** The newest rebuild, when it is in this state. */
    rebuild: (state: string, timeoutMs = 20_000) => {
      let seen: unknown;
      return until(
        `the rebuild is ${state}`,
        async () => {
          const { rebuilds } = await data(REBUILDS);
          seen = rebuilds;
          return rebuilds.at(-1)?.state === state ? rebuilds.at(-1) : undefined;
        },
        { timeoutMs, seen: () => seen },
      );
    },
    ready: async () => {
      const answer = await fetch(`${app.url}/ready`);
      return { status: answer.status, text: await answer.text() };
    },
    stop: () => {
      stopped ??= app.stop();
      return stopped;
    },
  };
}
export type StockApp = Awaited<ReturnType<typeof startStock>>;

export const REBUILDS = `{ rebuilds { projector view from to state held { reason } percent position logEnd eventsPerSecond
  etaSeconds retryingCount deadCount parkedCount startedAt swappedAt waitsFor runnerCount readerCount } }`;

export const actOn = (action: string): string =>
  `mutation($reason: String!) { ${action}Rebuild(projector: "stocks", reason: $reason) { state position waitsFor held { reason } } }`;

/** A generation's documents without what counts transactions. */
export async function contents(servers: TestServers, generation: number): Promise<readonly Partial<ViewDocument>[]> {
  const { client, db } = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  try {
    const projection = { _revision: 0, '_origins.revision': 0 };
    const found = db.collection<ViewDocument>(`view_stock_g${generation}`).find({}, { projection, sort: { _id: 1 } });
    return await found.toArray();
  } finally {
    await client.close();
  }
}
