import { environment } from '../lib/append-contender.ts';
import { ACCOUNT_COUNT } from '../lib/options.ts';
import { serve } from '../lib/serve.ts';
import { commandAndEvent } from './command-event.ts';
import { connect } from './commit.ts';
import { startGateway } from './hand-written-gateway.ts';
import { startWorker } from './hand-written-worker.ts';

/**
 * The stack as most teams write it with the same packages: a transaction a request, a job an event, a worker that
 * upserts the document and publishes it over Redis. ROLE: all, gateway or worker.
 */
const role = environment('ROLE');
const client = await connect();
const db = client.db(environment('MONGODB_DATABASE'));
const redis = { url: environment('REDIS_URL'), prefix: environment('REDIS_PREFIX') };
const worker = role === 'gateway' ? undefined : await startWorker(db, redis);
const gateway = role === 'worker' ? undefined : await startGateway(commandAndEvent(client, db), db, redis);

serve(
  {
    prepare: () => gateway?.open(ACCOUNT_COUNT),
    url: () => gateway?.url,
  },
  async () => {
    await gateway?.close();
    await worker?.close();
    await client.close();
  },
);
