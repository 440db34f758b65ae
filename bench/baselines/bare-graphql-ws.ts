import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer } from 'ws';
import { serve } from '../lib/serve.ts';
import { accepted, bankSchema } from './bank-schema.ts';
import { idle } from './idle.ts';

/** graphql-ws and a schema, nothing else: what an idle subscriber costs at least. */
const schema = bankSchema({ deposit: ({ id }) => accepted(id, 'none', 1), accountChanged: idle });
const server = createServer();
const sockets = new WebSocketServer({ server, path: '/graphql' });
const disposable = useServer({ schema }, sockets);
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address() as AddressInfo;

serve({ url: () => `http://127.0.0.1:${port}/graphql` }, async () => disposable.dispose());
