import type { Door } from './door.ts';
import { connectWs } from './ws-client.ts';

/** GraphQL over `socketCount` graphql-ws sockets in turn, any number of operations under way on each. */
export async function openWsDoor(url: string, socketCount: number): Promise<Door> {
  const sockets = await Promise.all(Array.from({ length: socketCount }, () => connectWs(url)));
  let turn = 0;
  return {
    request: (operation) =>
      new Promise((resolve, reject) => {
        turn = (turn + 1) % sockets.length;
        sockets[turn]?.start(operation, { next: resolve, fail: reject });
      }),
    async close() {
      await Promise.all(sockets.map((socket) => socket.close()));
    },
  };
}
