/**
 * Every error of Millrace, in one table. An error says the place, the cause and the cure in its message;
 * its `code` is stable and is what callers and tests look at.
 *
 * `retryable`: the same call may succeed later without a change. `exposed`: a client may read code and message;
 * anything else is masked on every door and logged with an id.
 */
export const errorTable = {
  // Definitions, refused at start
  DEFINITION_INVALID: { retryable: false, exposed: false },
  NAME_TAKEN: { retryable: false, exposed: false },
  SCHEMA_NOT_DERIVABLE: { retryable: false, exposed: false },
  SETTINGS_INVALID: { retryable: false, exposed: false },

  // Surroundings, refused at start or reported by /ready
  MONGODB_UNREACHABLE: { retryable: true, exposed: false },
  MONGODB_NOT_REPLICA_SET: { retryable: false, exposed: false },
  MONGODB_TOO_OLD: { retryable: false, exposed: false },
  MONGODB_FORBIDDEN: { retryable: false, exposed: false },
  GATEWAY_REFUSED: { retryable: false, exposed: false },
  GATEWAY_UNREACHABLE: { retryable: true, exposed: false },
  REDIS_UNREACHABLE: { retryable: true, exposed: false },
  REDIS_EVICTS: { retryable: false, exposed: false },
  REDIS_TOO_OLD: { retryable: false, exposed: false },
  PORT_IN_USE: { retryable: false, exposed: false },
  SERVERS_UNAVAILABLE: { retryable: false, exposed: false },
  SERVER_START_FAILED: { retryable: false, exposed: false },
  DATA_DIR_IN_USE: { retryable: false, exposed: false },

  // Doors: refused before anything of the author's runs
  BAD_REQUEST: { retryable: false, exposed: true },
  BAD_USER_INPUT: { retryable: false, exposed: true },
  CSRF_HEADER_MISSING: { retryable: false, exposed: true },
  GRAPHQL_PARSE_FAILED: { retryable: false, exposed: true },
  GRAPHQL_VALIDATION_FAILED: { retryable: false, exposed: true },
  HOST_NOT_ALLOWED: { retryable: false, exposed: true },
  METHOD_NOT_ALLOWED: { retryable: false, exposed: true },
  NO_SUCH_PATH: { retryable: false, exposed: true },
  OPERATION_RESOLUTION_FAILURE: { retryable: false, exposed: true },
  ORIGIN_NOT_ALLOWED: { retryable: false, exposed: true },
  PAYLOAD_TOO_LARGE: { retryable: false, exposed: true },
  QUERY_TOO_COMPLEX: { retryable: false, exposed: true },
  SUBPROTOCOL_UNKNOWN: { retryable: false, exposed: true },
  TOO_MANY_SOCKETS: { retryable: true, exposed: true },
  TOO_MANY_SUBSCRIPTIONS: { retryable: false, exposed: true },
  UNSUPPORTED_MEDIA_TYPE: { retryable: false, exposed: true },

  // Commands
  UNKNOWN_AGGREGATE: { retryable: false, exposed: true },
  UNKNOWN_COMMAND: { retryable: false, exposed: true },
  OUTCOME_UNKNOWN: { retryable: true, exposed: true },
  TOO_BUSY: { retryable: true, exposed: true },
  COMMIT_TOO_LARGE: { retryable: false, exposed: true },
  DECISION_INVALID: { retryable: false, exposed: false },
  COMMAND_DATA_INVALID: { retryable: false, exposed: true },
  COMMAND_NOT_DEAD: { retryable: false, exposed: true },
  COMMAND_NOT_WAITING: { retryable: false, exposed: true },

  // Events
  UNKNOWN_EVENT: { retryable: true, exposed: false },
  EVENT_INVALID: { retryable: false, exposed: false },

  // Reads
  UNKNOWN_VIEW: { retryable: false, exposed: true },
  UNKNOWN_QUERY: { retryable: false, exposed: true },
  BAD_TOKEN: { retryable: false, exposed: true },
  BAD_CURSOR: { retryable: false, exposed: true },
  BAD_INPUT: { retryable: false, exposed: true },
  HISTORY_TOO_LONG: { retryable: false, exposed: true },
  INDEX_MISSING: { retryable: false, exposed: true },
  NOT_SETTLED: { retryable: true, exposed: true },
  VIEW_BEHIND: { retryable: true, exposed: true },
  VIEW_NOT_STORED: { retryable: false, exposed: true },
  VIEW_DOCUMENT_INVALID: { retryable: false, exposed: false },
  QUERY_OUTPUT_INVALID: { retryable: false, exposed: false },

  // Delivery
  FENCED: { retryable: true, exposed: false },
  HANDLER_FAILED: { retryable: true, exposed: false },
  CRASHED: { retryable: false, exposed: false },
  SAGA_COMMAND_INVALID: { retryable: false, exposed: false },
  SAGA_REACTION_INVALID: { retryable: false, exposed: false },
  CHAIN_TOO_LONG: { retryable: false, exposed: true },
  SERVICE_TIMED_OUT: { retryable: true, exposed: true },
  SERVICE_ANSWER_INVALID: { retryable: false, exposed: false },
  OBSERVER_TIMED_OUT: { retryable: true, exposed: false },
  ONCE_RESULT_INVALID: { retryable: false, exposed: false },

  // Operators
  UNKNOWN_CONSUMER: { retryable: false, exposed: true },
  UNKNOWN_DEAD_LETTER: { retryable: false, exposed: true },
  DEAD_LETTER_BUSY: { retryable: true, exposed: true },
  CONSUMER_RUNNING: { retryable: false, exposed: true },
  CONSUMER_NOT_RUNNING: { retryable: true, exposed: true },
  OPERATION_RUNNING: { retryable: true, exposed: true },
  UNKNOWN_OPERATION: { retryable: false, exposed: true },
  REBUILD_ABORTED: { retryable: false, exposed: true },
  REBUILD_NOT_LEVEL: { retryable: true, exposed: true },
  REBUILD_RUNNING: { retryable: false, exposed: true },
  UNKNOWN_REBUILD: { retryable: false, exposed: true },
  REASON_MISSING: { retryable: false, exposed: true },

  // Life of the process
  SHUTTING_DOWN: { retryable: true, exposed: true },
  INTERNAL: { retryable: false, exposed: false },
} as const satisfies Record<string, { retryable: boolean; exposed: boolean }>;

export type ErrorCode = keyof typeof errorTable;

/** JSON facts about an error; of an exposed error they reach the client as `extensions`. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

export class MillraceError extends Error {
  override readonly name = 'MillraceError';
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly exposed: boolean;
  readonly details: ErrorDetails;

  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly details?: ErrorDetails } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = errorTable[code].retryable;
    this.exposed = errorTable[code].exposed;
    this.details = options.details ?? {};
  }
}

/**
 * Thrown by a handler of a projector, saga, observer or service: trying again cannot help. The event or command is dead at once, whatever
 * `attempts` says.
 */
export class NonRetryableError extends Error {
  override readonly name = 'NonRetryableError';
}

/**
 * Thrown by a handler of an observer or service: the outside world asks to be left alone for so long. The next try comes when the
 * back-off says, but not before that.
 */
export class RetryAfterError extends Error {
  override readonly name = 'RetryAfterError';
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number, options: { readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.retryAfterMs = retryAfterMs;
  }
}

export function isMillraceError(value: unknown, code?: ErrorCode): value is MillraceError {
  return value instanceof MillraceError && (code === undefined || value.code === code);
}
