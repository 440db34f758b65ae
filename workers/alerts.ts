import { DeadLetterAlerts } from '../src/engine/operators/dead-letter-alerts.ts';
import type { Sweep } from '../src/engine/sweep/sweep.ts';
import { slackPost } from '../src/observers/slack-post.ts';
import type { RunningRole, WorkerDeps } from './deps.ts';

/** Tells people of dead letters, in the process that sweeps. */
export function startAlerts(deps: WorkerDeps, { sweep }: { readonly sweep: Pick<Sweep, 'leads'> }): RunningRole {
  const { model, settings, store, logger } = deps;
  const alerts = new DeadLetterAlerts({
    alerts: [...model.alerts.values()],
    store: store.alerts,
    logId: settings.logId,
    leads: () => sweep.leads,
    post: slackPost,
    logger,
  });
  alerts.start();
  return alerts;
}
