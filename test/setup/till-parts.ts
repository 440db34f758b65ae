import { z } from 'zod';
import { NonRetryableError, projector, service, view } from '../../src/index.ts';

/** Charges cards at the network. `url` is where it listens. */
export function tillService(url: string) {
  const till = service({
    name: 'till',
    commands: { Charge: z.object({ card: z.string(), amount: z.int() }), Misbehave: z.object({ how: z.string() }) },
    events: {
      Charged: z.object({ card: z.string(), amount: z.int() }),
      ChargeFailed: z.object({ card: z.string(), attempts: z.int(), message: z.string() }),
    },
    rejections: ['DECLINED'],
    attempts: 3,
    backoff: { delayMs: 100 },
    timeoutMs: 3_000,
    exclusive: ({ data }) => cardOf(data),
    handle: {
      Charge: async ({ card, amount }, { idempotencyKey, signal, reject }) => {
        const response = await fetch(url, {
          method: 'POST',
          headers: { 'idempotency-key': idempotencyKey },
          body: JSON.stringify({ card, amount }),
          signal,
        });
        if (response.status === 400) throw new NonRetryableError('the network does not take this');
        if (!response.ok) throw new Error(`the network answers ${response.status}`);
        const { ok } = (await response.json()) as { ok: boolean };
        return ok ? { type: 'Charged', data: { card, amount } } : reject('DECLINED', 'no money');
      },
      Misbehave: async ({ how }, { attempt, once: onlyOnce }) => {
        if (how === 'answer') return { type: 'Charged', data: { card: 1 } } as never;
        if (how === 'refusal') return { rejected: 'UNHEARD_OF', reason: 'no' } as never;
        if (how === 'once') {
          const nth = await onlyOnce('mail', () => attempt);
          if (attempt < 3) throw new Error('after the mail');
          return { type: 'Charged', data: { card: 'once', amount: nth } };
        }
        throw how;
      },
    },
    onFailed: ({ data, attempts }, error) => ({
      type: 'ChargeFailed',
      data: { card: cardOf(data) ?? 'none', attempts, message: error instanceof Error ? error.message : String(error) },
    }),
  });
  const chargedView = view('charged', z.object({ id: z.string(), total: z.int() }));
  const charges = projector({
    name: 'charges',
    version: 1,
    from: [till],
    into: chargedView,
    key: ({ data }) => data.card,
    on: {
      Charged: (doc, { data }, id) => ({ id, total: (doc?.total ?? 0) + data.amount }),
    },
  });
  return { till, chargedView, charges };
}

const cardOf = (data: unknown): string | undefined =>
  typeof data === 'object' && data !== null && 'card' in data ? String(data.card) : undefined;

export function tillParts(url: string) {
  const { till, chargedView, charges } = tillService(url);
  return [till, chargedView, charges] as const;
}
