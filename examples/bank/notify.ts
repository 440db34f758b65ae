import { observer } from 'millrace';
import { transfer } from './transfer.ts';

/** Tells the owner how a transfer ended: a POST to BANK_NOTIFY_URL. Nothing is sent while that is not set. */
export const notify = observer({
  name: 'notify',
  description: 'Tells the owner of a transfer how it ended',
  from: [transfer],
  timeoutMs: 5_000,
  on: {
    TransferCompleted: async ({ stream }, { idempotencyKey, signal }) =>
      tell({ transferId: stream.id, text: 'your transfer has arrived' }, idempotencyKey, signal),
    TransferFailed: async ({ stream, data }, { idempotencyKey, signal }) =>
      tell({ transferId: stream.id, text: `your transfer failed: ${data.reason}` }, idempotencyKey, signal),
  },
});

async function tell(message: object, idempotencyKey: string, signal: AbortSignal): Promise<void> {
  const url = process.env.BANK_NOTIFY_URL;
  if (url === undefined || url === '') return;
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
    body: JSON.stringify(message),
    signal,
  });
  if (!response.ok) throw new Error(`the notification was answered with ${response.status}`);
}
