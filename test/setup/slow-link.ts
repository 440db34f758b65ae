import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

const TICK_MS = 10;
const BURST_S = 0.05;

/** A link to a server that lets only so many bytes a second through to the clients; what they send passes at once. */
export interface SlowLink {
  readonly port: number;
  /** Begins with everything passing (`Infinity`). */
  setBytesPerSecond(rate: number): void;
  close(): void;
}

export async function slowLink(target: number): Promise<SlowLink> {
  const open = new Set<Socket>();
  let rate = Number.POSITIVE_INFINITY;
  const listener = createServer((client) => {
    const server = connect(target, '127.0.0.1');
    for (const socket of [client, server]) {
      open.add(socket);
      socket.on('error', () => undefined).once('close', () => open.delete(socket));
    }
    client.pipe(server);
    client.once('close', () => server.destroy());
    // Read by hand: what is not let through waits in the buffers of the system, as with a slow client.
    let allowance = 0;
    let pumpedAtMs = performance.now();
    const pump = (): void => {
      // Ticks come late where the machine is busy: the link is no slower for that.
      const elapsedS = (performance.now() - pumpedAtMs) / 1_000;
      pumpedAtMs += elapsedS * 1_000;
      // What was not used is no burst for later: the link is slow at once.
      allowance = Math.min(allowance + rate * elapsedS, Math.max(rate * Math.max(BURST_S, elapsedS), 1));
      const count = Math.min(Math.floor(allowance), server.readableLength);
      const chunk: Buffer | null = count > 0 ? server.read(count) : null;
      if (chunk !== null) {
        if (Number.isFinite(rate)) allowance -= chunk.byteLength;
        client.write(chunk);
      }
    };
    const ticking = setInterval(pump, TICK_MS);
    server.on('readable', () => undefined);
    server.once('end', () => client.end());
    server.once('close', () => {
      clearInterval(ticking);
      client.end();
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  return {
    port: (listener.address() as AddressInfo).port,
    setBytesPerSecond(bytesPerSecond) {
      rate = bytesPerSecond;
    },
    close() {
      listener.close();
      for (const socket of open) socket.destroy();
    },
  };
}
