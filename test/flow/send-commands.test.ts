import { randomUUID } from 'node:crypto';
import { createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { aggregate, module } from '../../src/index.ts';
import { readSettings } from '../../src/settings.ts';
import { type RunningApp, startApp } from '../../src/start.ts';
import { post } from '../setup/gateway.ts';
import { logRecords } from '../setup/log-records.ts';
import { testServers } from '../setup/servers.ts';

/** A counter whose rules break on one number, and whose events break their own schema on another. */
const THROWS = 13;
const INVALID = 14;
const counter = aggregate({
  name: 'counter',
  events: { Added: z.object({ by: z.number().refine((by) => by !== INVALID) }) },
  commands: { Add: z.object({ by: z.number() }) },
  initial: () => 0,
  evolve: { Added: (sum, { by }) => sum + by },
  decide: {
    Add: (_sum, { by }) => {
      if (by === THROWS) throw new Error('secret of the author');
      return { type: 'Added', data: { by } };
    },
  },
});
const counters = module({ name: 'counters', parts: [counter] });
const { logger, records } = logRecords();
let app: RunningApp;

beforeAll(async () => {
  const servers = testServers();
  const settings = readSettings({
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    PORT: '0',
  });
  const builder = createSchemaBuilder();
  exposeModule(builder, counters);
  app = await startApp({ modules: [counters], schema: builder.toSchema(), role: 'all', settings, logger });
});
afterAll(() => app.stop());

const SEND = `mutation($commands: [CommandEnvelope!]!) { sendCommands(commands: $commands) {
  ... on CommandAccepted { commandId version duplicate } } }`;
const send = (commands: readonly object[]) =>
  post(app.url ?? '', JSON.stringify({ query: SEND, variables: { commands } }));
const add = (by: number, id: string = randomUUID()) => ({ aggregate: 'counter', id, type: 'Add', input: { by } });

test.each([
  ['throws', THROWS, 'secret of the author'],
  ['decides what its schema refuses', INVALID, 'Added'],
])('when one command %s the error is masked, and says what to repeat', async (_what, bad, cause) => {
  const commands = [add(1), add(bad), add(3)];
  const failed = await send(commands);
  expect(failed.data).toBeNull();
  expect(failed.text).not.toContain('secret');
  const [error] = failed.errors;
  expect(error).toMatchObject({
    message: 'Unexpected error.',
    extensions: { code: 'INTERNAL', errorId: expect.stringMatching(/^[0-9a-f-]{36}$/), commandIds: expect.any(Array) },
  });
  const { errorId, commandIds } = error!.extensions;
  expect(records.filter((record) => record.errorId === errorId)).toMatchObject([
    { path: 'sendCommands', err: { stack: expect.stringContaining(cause) } },
  ]);

  const named = commands.map((command, index) => ({ ...command, commandId: (commandIds as string[])[index] }));
  const again = await send(named.filter(({ input }) => input.by !== bad));
  expect(again.data.sendCommands).toEqual(
    [named[0], named[2]].map((one) => ({ commandId: one!.commandId, version: 1, duplicate: true })),
  );
});
