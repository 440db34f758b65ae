import type { Document } from 'mongodb';
import { expectEqual, type Fault } from '../harness/fault.ts';

const LOST = { closeConnection: true };
const UNSAFE = { writeConcernError: { code: 64, errmsg: 'waiting for replication timed out' } };

/** What MongoDB does, how often, to which command of whom. */
const TROUBLES: readonly { readonly what: string; readonly times: number; readonly data: Document }[] = [
  { what: 'commit of a transaction, answer lost', times: 1, data: { failCommands: ['commitTransaction'], ...LOST } },
  { what: 'commit of a transaction, answer lost', times: 3, data: { failCommands: ['commitTransaction'], ...LOST } },
  {
    what: 'commit of a transaction, not known to be safe',
    times: 2,
    data: { failCommands: ['commitTransaction'], ...UNSAFE },
  },
  {
    what: 'append, connection lost',
    times: 1,
    data: { failCommands: ['insert'], appName: 'millrace-gateway', ...LOST },
  },
  {
    what: 'append, connection lost',
    times: 3,
    data: { failCommands: ['insert'], appName: 'millrace-gateway', ...LOST },
  },
  {
    what: 'append, not known to be safe',
    times: 2,
    data: { failCommands: ['insert'], appName: 'millrace-gateway', ...UNSAFE },
  },
  {
    what: 'placing, connection lost',
    times: 3,
    data: { failCommands: ['insert'], appName: 'millrace-worker', ...LOST },
  },
  {
    what: 'placing, not known to be safe',
    times: 2,
    data: { failCommands: ['insert'], appName: 'millrace-worker', ...UNSAFE },
  },
];

export const commitUnknown: Fault = {
  id: 'F14',
  title: 'MongoDB does not say what became of a commit',
  target: 'exactly one commit for each commandId: 100 of 100, each trouble',
  async run(stage, size) {
    await stage.populate({ gateways: 2, workers: 2 });
    const count = size === 'brief' ? 30 : 100;
    let slowestMs = 0;
    for (const { times, data } of TROUBLES) {
      const before = stage.history.operations.length;
      await stage.failCommands({ times }, data);
      await stage.clients.send(count, 8, 0);
      await stage.failCommands('off');
      const sent = stage.history.operations.slice(before);
      expectEqual('commands without an answer', sent.filter(({ outcome }) => outcome === 'info').length, 0);
      // Charges are answered before they are carried out: counted at the end.
      const done = sent.filter(({ outcome, kind }) => outcome === 'ok' && kind !== 'charge');
      const ids = done.map(({ commandId }) => commandId);
      const found = await stage.db.collection('commits').countDocuments({ 'command.id': { $in: ids } });
      expectEqual('commits of acknowledged commands', found, ids.length);
      slowestMs = Math.max(slowestMs, ...sent.map(({ endedMs = 0, invokedMs }) => endedMs - invokedMs));
    }
    const drainMs = await stage.drained(20_000);
    const charges = stage.history.of('ok').filter(({ kind }) => kind === 'charge');
    const charged = await stage.db
      .collection('commits')
      .countDocuments({ 'command.id': { $in: charges.map(({ commandId }) => commandId) } });
    expectEqual('commits of acknowledged charges', charged, charges.length);
    return {
      troubles: TROUBLES.length,
      'commands each': count,
      'one commit for each acknowledged': 'all',
      'slowest answer ms': Math.round(slowestMs),
      'drain ms': drainMs,
    };
  },
};
