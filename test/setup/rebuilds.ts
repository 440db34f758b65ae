import { schemaOf } from '../../resolvers/index.ts';
import { readSettings, start } from '../../src/index.ts';
import { connect } from '../../src/store/connect.ts';
import type { ViewDocument } from '../../src/store/documents.ts';
import { type GraphqlAnswer, post } from './gateway.ts';
import type { TestServers } from './servers.ts';
import { item, type StockOptions, stockModules } from './stock-modules.ts';
import { logger } from './test-worker.ts';
import { until } from './until.ts';

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
    rebuild: (state: string, timeoutMs = 60_000) => {
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
