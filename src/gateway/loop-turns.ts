/** About 10 ms of work. */
const BEGUN_PER_TURN = 16;

/** Of requests that a client sends one upon the other only the first one's response knows that it left; their socket knows. */
interface Socket {
  readonly destroyed: boolean;
}

/**
 * Begins so many requests in one turn of the event loop; the others wait for the next turns, in order. libuv accepts one
 * connection a turn (libuv/libuv#3696): if a turn took all requests that are there, a busy gateway would let its old clients
 * in again and again, and a new one, a health probe as well, in a minute or never. A request whose client left while it waited
 * is not begun: nobody wants its answer, and what it opens would never hear that its client is gone.
 */
export function loopTurns(perTurn = BEGUN_PER_TURN): (socket: Socket, begin: () => void) => void {
  let waiting: { readonly socket: Socket; readonly begin: () => void }[] = [];
  let begunCount = 0;
  const nextTurn = (): void => {
    waiting = waiting.filter(({ socket }) => !socket.destroyed);
    const next = waiting.splice(0, perTurn);
    begunCount = next.length;
    if (begunCount > 0) setImmediate(nextTurn);
    for (const { begin } of next) begin();
  };
  return (socket, begin) => {
    if (begunCount === perTurn) {
      waiting.push({ socket, begin });
      return;
    }
    begunCount += 1;
    if (begunCount === 1) setImmediate(nextTurn);
    begin();
  };
}
