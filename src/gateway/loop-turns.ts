/** About 10 ms of work. */
const BEGUN_PER_TURN = 16;

/**
 * Begins so many requests in one turn of the event loop; the others wait for the next turns, in order. libuv accepts one
 * connection a turn (libuv/libuv#3696): if a turn took all requests that are there, a busy gateway would let its old clients
 * in again and again, and a new one, a health probe as well, in a minute or never.
 */
export function loopTurns(perTurn = BEGUN_PER_TURN): (begin: () => void) => void {
  const waiting: (() => void)[] = [];
  let begunCount = 0;
  const nextTurn = (): void => {
    const next = waiting.splice(0, perTurn);
    begunCount = next.length;
    if (begunCount > 0) setImmediate(nextTurn);
    for (const begin of next) begin();
  };
  return (begin) => {
    if (begunCount === perTurn) {
      waiting.push(begin);
      return;
    }
    begunCount += 1;
    if (begunCount === 1) setImmediate(nextTurn);
    begin();
  };
}
