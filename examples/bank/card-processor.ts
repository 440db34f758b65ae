import { command, NonRetryableError, saga, service } from 'millrace';
import { z } from 'zod';
import { account, amount } from './account.ts';

/** What the card network answers. */
const answer = z.discriminatedUnion('status', [
  z.object({ status: z.literal('CHARGED'), reference: z.string() }),
  z.object({ status: z.literal('DECLINED'), reason: z.string() }),
]);

/** Where the card network is; see card-network.ts for one to play with. */
const networkUrl = (): string => process.env.CARD_NETWORK_URL ?? 'http://127.0.0.1:4010';

/** Charges cards over HTTP. The network remembers the idempotency key: a charge that is tried again is charged once. */
export const cardProcessor = service({
  name: 'cardProcessor',
  description: 'Charges cards at the card network',
  commands: {
    ChargeCard: z
      .object({ accountId: z.string().min(1).max(256), card: z.string().regex(/^\d{12,19}$/), amount })
      .describe('Pay money into an account from a card'),
  },
  events: { CardCharged: z.object({ accountId: z.string(), amount, reference: z.string() }) },
  rejections: ['CARD_DECLINED'],
  attempts: 8,
  backoff: { delayMs: 200, maxDelayMs: 5_000 },
  timeoutMs: 3_000,
  // Two charges of one card at once would look like fraud to the network.
  exclusive: ({ data }) => cardOf(data),
  handle: {
    ChargeCard: async ({ accountId, card, amount }, { idempotencyKey, signal, reject }) => {
      const response = await fetch(`${networkUrl()}/charges`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
        body: JSON.stringify({ card, amount }),
        signal,
      });
      if (response.status === 400)
        throw new NonRetryableError(`the card network does not take this: ${await response.text()}`);
      if (!response.ok) throw new Error(`the card network answers ${response.status}`);
      const result = answer.parse(await response.json());
      return result.status === 'CHARGED'
        ? { type: 'CardCharged', data: { accountId, amount, reference: result.reference } }
        : reject('CARD_DECLINED', result.reason);
    },
  },
});

const cardOf = (data: unknown): string | undefined =>
  typeof data === 'object' && data !== null && 'card' in data ? String(data.card) : undefined;

/** What a card paid goes to its account. */
export const cardTopUp = saga({
  name: 'cardTopUp',
  description: 'Pays what a card was charged into its account',
  from: [cardProcessor],
  startFrom: 'start',
  initial: () => null,
  on: {
    CardCharged: (_state, { data }) => ({
      send: [command(account, data.accountId, { type: 'Deposit', data: { amount: data.amount } })],
      end: true,
    }),
  },
});
