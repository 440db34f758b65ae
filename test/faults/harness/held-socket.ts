import WebSocket from 'ws';

/** A WebSocket implementation for graphql-ws, and the socket that was opened last with it. */
export function heldSocket() {
  let socket: WebSocket | undefined;
  return {
    implementation: class extends WebSocket {
      constructor(address: string, protocols: string[]) {
        super(address, protocols);
        socket = this;
      }
    },
    socket: () => socket,
  };
}
