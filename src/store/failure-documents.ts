/** Documents of what went wrong; one collection each. */

/** What went wrong, without the payload: bounded in size, whatever was thrown. */
export interface StoredError {
  readonly code: string;
  /** Class name, or what was thrown instead of an error. */
  readonly type: string;
  /** At most 2,000 characters. */
  readonly message: string;
  /** At most 4,000 characters. */
  readonly stack: string | null;
  /** Same for errors of the same type, shape of message and top frame. */
  readonly fingerprint: string;
  /** Issues of a schema, where there are some. */
  readonly issues?: readonly { readonly path: readonly (string | number)[]; readonly message: string }[];
}

/** `dead_letters`: a key of a consumer whose event failed; later events of that key wait in `parked_events`. */
export interface DeadLetterDocument {
  /** sha256 (32 hex characters) of log, consumer, generation and key. */
  readonly _id: string;
  readonly logId: string;
  readonly consumer: string;
  readonly consumerKind: 'projector' | 'saga' | 'observer';
  readonly generation: number;
  readonly version: number;
  readonly partition: number;
  readonly key: string;
  /** RETRYING: tries go on by themselves; DEAD: an operator or a deployment must act. */
  readonly state: 'RETRYING' | 'DEAD';
  /** The input that failed: an event of the log, or a timer or refusal of a saga (then the event fields are absent). */
  readonly input: 'event' | 'timer' | 'refusal';
  /** Position of the event; of the checkpoint for other inputs. */
  readonly position: number;
  readonly eventId: string | null;
  /** Event type, timer name or command type. */
  readonly inputType: string;
  readonly correlationId: string | null;
  /** Tries so far, since it failed first or was retried by an operator. */
  readonly attempts: number;
  /** Of the policy at the last try; null: for ever. */
  readonly maxAttempts: number | null;
  /** Part of the job's id: the time of the first failure (ms since 1970), and one more with each round of tries. */
  readonly delivery: number;
  readonly error: StoredError;
  /** Events of this key that wait behind it. */
  readonly parkedCount: number;
  readonly firstFailedAt: Date;
  readonly lastFailedAt: Date;
  /** When the next try is due; null when DEAD. */
  readonly nextAttemptAt: Date | null;
  /** Tries that were begun with care, after crashes, and have not ended. */
  readonly begun?: number;
  /** The operation that let it be tried again last. */
  readonly operation?: string;
}

/** `parked_events`: references to events that wait behind a dead letter, in order of position. */
export interface ParkedEventDocument {
  /** `<dead letter id>/<position padded to 16 digits>` */
  readonly _id: string;
  readonly deadLetter: string;
  readonly consumer: string;
  readonly generation: number;
  readonly partition: number;
  readonly key: string;
  readonly position: number;
}

/** `crashes`: processes that died without leaving; TTL index. */
export interface CrashDocument {
  /** Id of the instance. */
  readonly _id: string;
  readonly at: Date;
  readonly expiresAt: Date;
}
