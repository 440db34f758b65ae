/** In characters: about as many bytes. A new client begins with the least. */
const WINDOW_MIN_COUNT = 4_096;
const WINDOW_MAX_COUNT = 262_144;
/** A mark read within this share of a heartbeat doubles the window, one read later than this other halves it. */
const FAST_SHARE = 1 / 12;
const SLOW_SHARE = 1 / 3;

interface Mark {
  readonly id: string;
  /** What had been sent before it. */
  readonly sentCount: number;
  readonly atMs: number;
}

/**
 * How much may be under way to a client that has not shown that it read it. What is sent to a slow client would otherwise
 * wait in the system's buffers, megabytes for each socket, and be old when it arrives. A mark is sent behind the messages
 * (a WebSocket ping: its pong comes when all before it was read), one at a time, because clients may refuse to owe many
 * pongs; and a source of messages that may wait asks for room first. The window grows and shrinks with the client, within
 * 4 and 256 KiB: it is about what the client reads in a third of a heartbeat, so one that
 * reads on is known to live.
 */
export class SendWindow {
  readonly #send: (mark: string) => void;
  readonly #heartbeatMs: number;
  readonly #now: () => number;
  #windowCount = WINDOW_MIN_COUNT;
  #sentCount = 0;
  #readCount = 0;
  #markCount = 0;
  #mark: Mark | undefined;
  #waiting: (() => void)[] = [];
  #ended = false;

  constructor(send: (mark: string) => void, heartbeatMs: number, now: () => number = () => performance.now()) {
    this.#send = send;
    this.#heartbeatMs = heartbeatMs;
    this.#now = now;
  }

  get underWayCount(): number {
    return this.#sentCount - this.#readCount;
  }

  /** After each message. */
  sent(count: number): void {
    this.#sentCount += count;
    if (this.underWayCount >= this.#windowCount / 4) this.mark();
  }

  /** Asks the client to say when it has read everything so far. Nothing is done while it owes such an answer. */
  mark(): void {
    if (this.#mark !== undefined || this.#ended) return;
    this.#markCount += 1;
    this.#mark = { id: String(this.#markCount), sentCount: this.#sentCount, atMs: this.#now() };
    this.#send(this.#mark.id);
  }

  /** The client answered; what answers no mark is ignored. */
  read(id: string): void {
    const mark = this.#mark;
    if (mark?.id !== id) return;
    this.#mark = undefined;
    const took = (this.#now() - mark.atMs) / this.#heartbeatMs;
    // That a client that was sent next to nothing is quick says little.
    const grows = took < FAST_SHARE && mark.sentCount - this.#readCount >= this.#windowCount / 4;
    if (grows) this.#windowCount = Math.min(WINDOW_MAX_COUNT, this.#windowCount * 2);
    else if (took > SLOW_SHARE) this.#windowCount = Math.max(WINDOW_MIN_COUNT, this.#windowCount / 2);
    this.#readCount = mark.sentCount;
    if (this.#hasRoom()) this.#release();
    else this.mark();
  }

  /** Undefined when there is room now. */
  room(): Promise<void> | undefined {
    if (this.#hasRoom()) return undefined;
    this.mark();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Nothing is sent any more: nobody waits. */
  end(): void {
    this.#ended = true;
    this.#release();
  }

  #hasRoom(): boolean {
    return this.#ended || this.underWayCount <= this.#windowCount;
  }

  #release(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
