import { type DeadLetterAlert, type Module, module, type WebhookSpec, webhook } from '../../src/index.ts';
import { counter } from './test-worker.ts';

export const webhookSecret = `whsec_${Buffer.from('a secret of thirty-two bytes, ok').toString('base64')}`;

/** The counters and a webhook that gets all their events. */
export function webhookModules(
  spec: Pick<WebhookSpec<readonly [typeof counter]>, 'url'> & Partial<WebhookSpec<readonly [typeof counter]>>,
  alerts: readonly DeadLetterAlert[] = [],
): readonly Module[] {
  const hook = webhook<readonly [typeof counter]>({
    name: 'hook',
    from: [counter],
    secret: webhookSecret,
    startFrom: 'start',
    backoff: { delayMs: 50, maxDelayMs: 200 },
    ...spec,
  });
  return [module({ name: 'hooked', parts: [counter, hook, ...alerts] })];
}
