/** About 10 ms of work. */
const BEGUN_PER_TURN = 16;

interface Waiting {
  readonly response: { readonly closed: boolean };
  readonly begin: () => void;
}

/**
 * Begins so many requests in one turn of the event loop; the others wait for the next turns, in order. libuv accepts one
 * connection a turn (libuv/libuv#3696): if a turn took all requests that are there, a busy gateway would let its old clients
 * in again and again, and a new one, a health probe as well, in a minute or never. A request whose client left while it waited
 * is not begun: nobody wants its answer, and what it opens would never hear that its client is gone.
 */
export function loopTurns(perTurn = BEGUN_PER_TURN): (response: Waiting['response'], begin: () => void) => void {
  let waiting: Waiting[] = [];
  let begunCount = 0;
  const nextTurn = (): void => {
    waiting = waiting.filter(({ response }) => !response.closed);
    const next = waiting.splice(0, perTurn);
    begunCount = next.length;
    if (begunCount > 0) setImmediate(nextTurn);
    for (const { begin } of next) begin();
  };
  return (response, begin) => {
    if (begunCount === perTurn) {
      waiting.push({ response, begin });
      return;
    }
    begunCount += 1;
    if (begunCount === 1) setImmediate(nextTurn);
    begin();
  };
}
