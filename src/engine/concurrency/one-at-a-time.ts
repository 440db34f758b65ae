import { setTimeout as pause } from 'node:timers/promises';
import { MillraceError } from '../../errors.ts';
import type { LeaseStore } from '../../store/leases.ts';
import { newId } from './new-id.ts';
import { repeat } from './repeat.ts';

/** So long others wait for whoever died at it. */
const LEASE_MS = 5_000;
const RENEW_MS = 1_000;
const LEASE_TRIES = 100;
const LEASE_PAUSE_MS = 50;

/** One after the other over all processes. Throws OPERATION_RUNNING when it has to wait for more than about five seconds. */
export async function oneAtATime<T>(
  leases: Pick<LeaseStore, 'acquire' | 'release'>,
  { id, who }: { readonly id: string /** Who is waited for, for the message. */; readonly who: string },
  work: () => Promise<T>,
): Promise<T> {
  const holder = newId();
  for (let attempt = 0; !(await leases.acquire(id, holder, LEASE_MS)); attempt++) {
    if (attempt >= LEASE_TRIES) throw new MillraceError('OPERATION_RUNNING', `${who} Try again in a second.`);
    await pause(LEASE_PAUSE_MS);
  }
  const renew = (): Promise<number> => leases.acquire(id, holder, LEASE_MS).then(always, always);
  const renewing = repeat(renew, { firstMs: RENEW_MS });
  try {
    return await work();
  } finally {
    await renewing.stop();
    await leases.release(id, holder).catch(() => undefined);
  }
}

const always = (): number => RENEW_MS;
