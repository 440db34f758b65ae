import type { DeadLetterAlert } from '../../define/dead-letter-alert.ts';
import type { Logger } from '../../logger.ts';
import { atMost } from '../../queue/at-most.ts';
import type { AlertStore, DeadGroup } from '../../store/alerts.ts';
import { anySignal } from '../concurrency/any-signal.ts';
import { type Repeating, repeat } from '../concurrency/repeat.ts';

export interface DeadLetterAlertsOptions {
  readonly alerts: readonly DeadLetterAlert[];
  readonly store: AlertStore;
  readonly logId: string;
  /** One process looks: the one that sweeps. */
  readonly leads: () => boolean;
  /** Sends `{ text }`; rejects unless it was taken. */
  readonly post: (url: string, text: string, signal: AbortSignal) => Promise<void>;
  readonly logger: Logger;
  readonly intervalMs?: number;
}

const INTERVAL_MS = 2_000;
/** A look is followed by a rest of so many times its length, as long as people hear of dead letters within half a minute. */
const REST_PER_LOOK = 50;
const REST_MAX_MS = 30_000;
const POST_MAX_MS = 10_000;
/** Longer than a post takes: the next process tells it when this one died meanwhile. */
const CLAIM_MS = 30_000;
const AGAIN_MS = 15_000;
const STOP_MAX_MS = 500;

/**
 * Tells people of dead letters: once for each group and window, by records in MongoDB, whichever process looks. Delivery goes on
 * whatever happens here.
 */
export class DeadLetterAlerts {
  readonly #options: DeadLetterAlertsOptions;
  readonly #stop = new AbortController();
  /** Groups that were told, or that others tell, as they were then: nothing to ask for while they stay so. */
  readonly #quiet = new Map<string, { readonly state: string; readonly untilMs: number }>();
  /** Being told: one that hangs holds up no other. */
  readonly #underWay = new Map<string, Promise<void>>();
  #rounds: Repeating | undefined;

  constructor(options: DeadLetterAlertsOptions) {
    this.#options = options;
  }

  start(): void {
    const { alerts, leads, logger, intervalMs = INTERVAL_MS } = this.#options;
    if (alerts.length === 0) return;
    let lastTookMs = 0;
    const round = async (): Promise<number> => {
      if (!leads()) return intervalMs;
      const since = performance.now();
      await this.#look().catch((error: unknown) =>
        logger.warn({ error: String(error) }, 'dead letters could not be looked at; the next look follows'),
      );
      const tookMs = performance.now() - since;
      const rest = restAfterLooksMs(tookMs, lastTookMs, intervalMs);
      lastTookMs = tookMs;
      return rest;
    };
    this.#rounds = repeat(round, { firstMs: intervalMs });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    if (this.#rounds !== undefined) await atMost(STOP_MAX_MS, this.#rounds.stop());
    await atMost(STOP_MAX_MS, Promise.all(this.#underWay.values()));
  }

  async #look(): Promise<void> {
    const { alerts, store, logId } = this.#options;
    const groups = await store.groups();
    const told = alerts.flatMap((alert) =>
      groups
        .filter(({ consumer }) => alert.consumers === undefined || alert.consumers.includes(consumer))
        .map((group) => ({ alert, group, id: `${logId}/${alert.name}/${group.consumer}/${group.fingerprint}` })),
    );
    const known = new Set(told.map(({ id }) => id));
    for (const id of this.#quiet.keys()) if (!known.has(id)) this.#quiet.delete(id);
    for (const { alert, group, id } of told) {
      if (this.#underWay.has(id)) continue;
      const done = this.#tell(alert, group, id).finally(() => this.#underWay.delete(id));
      this.#underWay.set(id, done);
    }
  }

  async #tell(alert: DeadLetterAlert, group: DeadGroup, id: string): Promise<void> {
    const { store, post, logger } = this.#options;
    const state = `${group.count}/${group.lastFailedAt.getTime()}`;
    const quiet = this.#quiet.get(id);
    if (quiet !== undefined && (quiet.state === state || quiet.untilMs > performance.now())) return;
    try {
      if (!(await store.claim(id, group, CLAIM_MS))) {
        // Told before by another process, or within its window: asked again now and then, for it may end.
        this.#quiet.set(id, { state: '', untilMs: performance.now() + Math.min(alert.windowMs, AGAIN_MS) });
        return;
      }
      const over = anySignal([this.#stop.signal, AbortSignal.timeout(POST_MAX_MS)]);
      await post(alert.url, alertText(group), over.signal).finally(over.end);
      await store.told(id, group, alert.windowMs);
      this.#quiet.set(id, { state, untilMs: performance.now() + alert.windowMs });
    } catch (error) {
      logger.warn(
        { alert: alert.name, consumer: group.consumer, error: String(error) },
        'an alert was not taken; it is tried again',
      );
      await store.failed(id, AGAIN_MS).catch(() => undefined);
    }
  }
}

/** By the shorter of two looks: one that took long, for a server that stood still, is no reason to be silent. */
export const restAfterLooksMs = (tookMs: number, lastTookMs: number, intervalMs: number): number =>
  Math.max(intervalMs, Math.min(REST_MAX_MS, Math.min(tookMs, lastTookMs) * REST_PER_LOOK));

const MESSAGE_MAX_LENGTH = 200;

/** Slack's mrkdwn: three characters have a meaning of their own. */
export function alertText({ consumer, fingerprint, count, parkedCount, firstFailedAt, example }: DeadGroup): string {
  const { error, inputType, position } = example;
  const message = error.message.split('\n', 1)[0]?.slice(0, MESSAGE_MAX_LENGTH) ?? '';
  const keys = count === 1 ? '1 dead letter' : `${count} dead letters`;
  const waiting =
    parkedCount === 0 ? '' : `, ${parkedCount} ${parkedCount === 1 ? 'event waits' : 'events wait'} behind`;
  const lines = [
    `*${keys}* in consumer *${consumer}*${waiting}`,
    `${error.code}: ${message}`,
    `${inputType} at position ${position}; since ${firstFailedAt.toISOString()}; group ${fingerprint}, e.g. ${example._id}`,
  ];
  return lines.join('\n').replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
