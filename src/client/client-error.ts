/** Codes that this client gives by itself; all others are `extensions.code` of the gateway's answer. */
export type LocalErrorCode =
  /** The document cannot do what it is used for; the message says what it lacks. */
  | 'BAD_DOCUMENT'
  /** No answer from the network until the deadline, or too many tries. A command has code OUTCOME_UNKNOWN instead. */
  | 'NETWORK'
  /** Whether the command was carried out is not known at the deadline: send it again with the same commandId. */
  | 'OUTCOME_UNKNOWN'
  /** The caller's signal was aborted, or the client is closed. */
  | 'ABORTED'
  /** There is no WebSocket class here, and only WebSocket is wanted. */
  | 'NO_WEBSOCKET'
  /** The gateway closed the socket with a code that says not to come again. */
  | 'SOCKET_REFUSED'
  /** The answer is no GraphQL. */
  | 'BAD_ANSWER'
  /** A function of the subscription's sink threw: `cause` is what. The message counts as not taken. */
  | 'SINK_FAILED';

/** What a GraphQL error looks like on the wire. */
export interface WireError {
  readonly message: string;
  readonly path?: readonly (string | number)[];
  readonly extensions?: Readonly<Record<string, unknown>>;
}

/** The one error of this client. */
export class MillraceClientError extends Error {
  /** `extensions.code` of the gateway's first error, or a {@link LocalErrorCode}. */
  readonly code: string;
  /** Asking again may help; for a command: with the same commandId. */
  readonly retryable: boolean;
  /** All errors of the answer. */
  readonly errors: readonly WireError[];
  /** What the answer has beside its errors: fields that failed are null in it. */
  readonly data: unknown;
  /** Of the command that was sent. */
  readonly commandId: string | undefined;
  /** How long the gateway asks to wait before the next try, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: string,
    message: string,
    options: {
      readonly retryable?: boolean;
      readonly errors?: readonly WireError[];
      readonly data?: unknown;
      readonly commandId?: string | undefined;
      readonly retryAfterMs?: number | undefined;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MillraceClientError';
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.errors = options.errors ?? [];
    this.data = options.data ?? undefined;
    this.commandId = options.commandId;
    const after = this.errors[0]?.extensions?.retryAfterMs;
    this.retryAfterMs = typeof after === 'number' ? after : options.retryAfterMs;
  }
}

/** Also where an older gateway or a proxy does not say `retryable`. */
const retryableCodes = new Set([
  'OUTCOME_UNKNOWN',
  'TOO_BUSY',
  'SHUTTING_DOWN',
  'VIEW_BEHIND',
  'TOO_MANY_SUBSCRIPTIONS',
]);

/** The errors of an answer as one. */
export function answerError(
  errors: readonly WireError[],
  {
    passing = false,
    ...about
  }: {
    readonly commandId?: string | undefined;
    /** The status says that it will pass. */
    readonly passing?: boolean;
    readonly data?: unknown;
    readonly retryAfterMs?: number | undefined;
  } = {},
): MillraceClientError {
  const [first] = errors;
  const code = typeof first?.extensions?.code === 'string' ? first.extensions.code : 'BAD_ANSWER';
  const retryable = passing || first?.extensions?.retryable === true || retryableCodes.has(code);
  return new MillraceClientError(code, first?.message ?? 'The answer has neither data nor errors.', {
    ...about,
    retryable,
    errors,
  });
}

export const closed = (): MillraceClientError => new MillraceClientError('ABORTED', 'This client is closed.');

export const aborted = (commandId?: string): MillraceClientError =>
  new MillraceClientError('ABORTED', 'It was given up before there was an answer.', { commandId });
