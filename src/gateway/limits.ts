/** What a client may ask of a gateway. Each refusal names its limit. */
export const limits = {
  /** HTTP body, before it is parsed. */
  bodyMaxBytes: 1_000_000,
  /** Message on a WebSocket; a larger one closes it with 1009. */
  socketMessageMaxBytes: 131_072,
  /** Subscriptions on one socket; one more closes it with 4429. */
  socketSubscriptionsMaxCount: 100,
  /** Queries and mutations of one socket that run at once; the next ones wait unread. */
  socketOperationsMaxCount: 256,
  /**
   * What waits in memory for a client; messages of subscriptions are held back long before that (send-window.ts). Beyond it
   * nothing more of the client is read, and its socket is closed with 1013 when the system accepts nothing more for it from
   * one heartbeat to the next. It accepts in steps as its own buffers empty, so a very slow client can look as if it took
   * nothing.
   */
  socketBufferedMaxBytes: 16_777_216,
  /** A socket must say `connection_init` within this, else 4408. */
  socketInitTimeoutMs: 5_000,
  /** A socket from which nothing comes for so long, no pong either, is closed with 1013; cut after another. */
  heartbeatIntervalMs: 12_000,
  /**
   * The pong stands behind what was sent before: a client that still has to read so much gets the heartbeats that it takes at this
   * speed, and at most so many.
   */
  slowestBytesPerSecond: 4_096,
  slowestBeatsMaxCount: 10,
  /** A gateway that drains closes one of its sockets and streams at least so often: few of them do not take the whole window. */
  drainStepMaxMs: 20,
  /** Tokens of a GraphQL document, counted while it is parsed. */
  documentMaxTokens: 2_000,
  documentMaxDepth: 10,
  documentMaxAliases: 30,
  documentMaxDirectives: 50,
  /** Cost as graphql-armor counts it: fields by depth, times `first` or `last`. A page of 1,000 full events is 101,000. */
  documentMaxCost: 150_000,
  /** Longest message of an error that reaches a client, in UTF-16 code units. */
  errorMessageMaxLength: 1_000,
  /** A request must have arrived within this. */
  requestTimeoutMs: 30_000,
  headersTimeoutMs: 15_000,
  keepAliveTimeoutMs: 65_000,
} as const;
