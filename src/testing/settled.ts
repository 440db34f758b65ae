import { MillraceError } from '../errors.ts';

/** What `settled` needs of a running app. */
export interface SettlingApp<F> {
  settled(correlationId: string, options?: SettleOptions): Promise<F>;
}
export interface SettleOptions {
  /** Default 10,000. */
  readonly timeoutMs?: number | undefined;
  /** Timers and delayed commands that are due within this time are waited for, too; default 0. */
  readonly dueWithinMs?: number | undefined;
}
/** The outcome of a command. */
export interface SentOutcome {
  readonly kind: string;
  readonly correlationId?: string;
  readonly code?: string;
  readonly reason?: string;
}

/**
 * For tests against a running app: waits until everything that a command set in motion is done, and gives its flow, dead letters
 * included. No sleeps: `await settled(app, app.send(account, 'a', { type: 'Deposit', data: { amount: 1 } }))`.
 *
 * Throws BAD_INPUT when the command was not taken, with its reason; NOT_SETTLED after `timeoutMs` (default 10,000), naming
 * what is under way.
 */
export async function settled<F>(
  app: SettlingApp<F>,
  outcome: string | SentOutcome | PromiseLike<SentOutcome>,
  options: SettleOptions = {},
): Promise<F> {
  const sent = await outcome;
  if (typeof sent === 'string') return app.settled(sent, options);
  if (sent.correlationId !== undefined) return app.settled(sent.correlationId, options);
  const why = [sent.code, sent.reason].filter((text) => text !== undefined).join(', ');
  throw new MillraceError(
    'BAD_INPUT',
    `The command was not taken (${sent.kind}${why === '' ? '' : `: ${why}`}), so nothing follows from it. Expect its outcome instead.`,
  );
}
