import { checkList, invalid } from './refuse.ts';

/** Tells people of dead letters. */
export interface DeadLetterAlert {
  readonly kind: 'deadLetterAlert';
  readonly name: string;
  readonly url: string;
  readonly windowMs: number;
  /** Undefined: all. */
  readonly consumers: readonly string[] | undefined;
}
export interface DeadLetterAlertSpec {
  /** Default `dead-letters`; several alerts need names of their own. */
  readonly name?: string;
  /** An incoming webhook of Slack, or of anything that takes `{ "text": … }` (Mattermost, Discord with `/slack`). */
  readonly url: string;
  /** After an alert, the same group stays silent for so long; default 3,600,000 (an hour). */
  readonly windowMs?: number;
  /** Default: all consumers. */
  readonly consumers?: readonly string[];
}

const HOUR_MS = 3_600_000;
const WINDOW_MAX_MS = 30 * 24 * HOUR_MS;

/**
 * Declares an alert: a message when dead letters appear, once for each group (consumer and cause) and window over all processes, and
 * again after the window when there are more. It says what and how many; of the data only what the error's message holds.
 */
export function deadLetterAlert(spec: DeadLetterAlertSpec): DeadLetterAlert {
  const { name = 'dead-letters', url, windowMs = HOUR_MS, consumers } = spec;
  return { kind: 'deadLetterAlert', name, url, windowMs, consumers };
}

/** Throws DEFINITION_INVALID. */
export function checkDeadLetterAlert({ url, windowMs, consumers }: DeadLetterAlert, place: string): void {
  if (typeof url !== 'string' || !URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw invalid(place, '`url` is no http or https URL. Is its environment variable set?');
  }
  if (!Number.isSafeInteger(windowMs) || windowMs < 1_000 || windowMs > WINDOW_MAX_MS) {
    throw invalid(place, '`windowMs` must be a whole number of milliseconds from 1,000 to 30 days.');
  }
  if (consumers !== undefined) checkList(consumers, 'consumers', place);
}
