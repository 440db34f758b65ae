import { hostname } from 'node:os';
import { keepPresence } from '../src/engine/processes/presence.ts';
import type { ProcessDeps, RunningRole } from './deps.ts';

/** A gateway's place among the living: it runs nothing, but reads views. */
export function startPresence({
  store,
  logger,
  instanceId,
  served,
}: Pick<ProcessDeps, 'store' | 'logger' | 'instanceId' | 'served'>): RunningRole {
  const { instances } = store;
  const fixed = { id: instanceId, host: hostname(), pid: process.pid, role: 'gateway' };
  return keepPresence({ store: instances, self: () => ({ ...fixed, serves: served?.ids() }), logger });
}
