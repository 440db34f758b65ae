/**
 * MONGO_URL DATABASE: a worker process that is stopped in the middle of its transaction: it is registered as living, has moved
 * the partitions of "counters" and has not committed. Prints "open" and stands still until it is killed.
 */
import { writeSync } from 'node:fs';
import { Membership } from '../../../src/engine/processes/membership.ts';
import { createLogger } from '../../../src/logger.ts';
import { connect } from '../../../src/store/connect.ts';
import { createDeliveryStore } from '../../../src/store/delivery-store.ts';
import type { ViewWrites } from '../../../src/store/partitions.ts';

const [mongoUrl = '', database = ''] = process.argv.slice(2);
const { client, db } = await connect({ url: mongoUrl, database, appName: 'hold-transaction' });
const { instances, partitions } = createDeliveryStore(client, db, 'main');
await new Membership({
  store: instances,
  self: { id: 'killed', host: 'here', pid: process.pid, role: 'worker' },
  sessions: () => partitions.sessionIds(),
  logger: createLogger({ level: 'silent', pretty: false }),
}).start();

const readings = await partitions.read([{ consumer: 'counters', generation: 1 }]);
const moves = readings.map(({ consumer, generation, partition, checkpoint, revision }) => ({
  ...{ consumer, generation, partition, failure: undefined },
  from: { checkpoint, revision },
  to: { checkpoint: checkpoint + 1_000_000, revision: revision + 1 },
}));
/** Asked for after the partitions were moved, inside the transaction. */
class StandStill extends Array<ViewWrites> {
  override [Symbol.iterator](): never {
    writeSync(1, 'open\n');
    for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  }
}
await partitions.commit(moves, new StandStill());
