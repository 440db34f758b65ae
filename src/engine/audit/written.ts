import { setTimeout as pause } from 'node:timers/promises';
import { MillraceError } from '../../errors.ts';
import type { TransactionEnd } from '../../store/transactions.ts';

const WRITE_TRIES = 200;
const WRITE_PAUSE_MS = 25;

/** Repeats a transaction that met another one. Throws when it cannot be written. */
export async function written(
  write: () => Promise<TransactionEnd>,
  options: { readonly refusedIsFine?: boolean } = {},
): Promise<'committed' | 'refused'> {
  for (let attempt = 0; ; attempt++) {
    const end = await write();
    if (end.kind === 'committed') return 'committed';
    if (end.kind === 'refused' && options.refusedIsFine) return 'refused';
    if (end.kind === 'refused') throw new MillraceError('FENCED', 'Somebody else changed it at the same time.');
    if (end.kind === 'conflict' && attempt < WRITE_TRIES) {
      await pause(WRITE_PAUSE_MS * Math.random());
      continue;
    }
    throw end.kind === 'conflict'
      ? new MillraceError('TOO_BUSY', 'What this would change is being written all the time. Try again in a second.')
      : end.error;
  }
}
