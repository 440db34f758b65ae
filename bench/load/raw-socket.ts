import { connect, type Socket } from 'node:net';

/**
 * A graphql-transport-ws client that does next to nothing for a message but hand it on: thousands of them share a process,
 * and what they cost is in every figure.
 */
export interface RawSocket {
  close(): void;
}

const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const HEAD_END = '\r\n\r\n';

/** Resolves when the first result of the subscription is there. `onMessage` gets that and all that follow. */
export function openRawSocket(
  url: URL,
  payload: object,
  onMessage: (text: Buffer) => void,
  onFail: (error: Error) => void,
): Promise<RawSocket> {
  const wire = connect({ host: url.hostname, port: Number(url.port), noDelay: true });
  let closing = false;
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      reject(error);
      if (!closing) onFail(error);
    };
    let state: 'upgrade' | 'init' | 'subscribed' | 'open' = 'upgrade';
    let rest: Buffer = Buffer.alloc(0);
    const onFrame = (opcode: number, body: Buffer): unknown => {
      if (opcode === PING) return sendFrame(wire, PONG, body);
      if (opcode === CLOSE) return fail(new Error(`the server closed the socket: ${body.subarray(2).toString()}`));
      if (state === 'open') return onMessage(body);
      if (state === 'init') {
        state = 'subscribed';
        sendFrame(wire, TEXT, Buffer.from(JSON.stringify({ id: '1', type: 'subscribe', payload })));
        return undefined;
      }
      if (!body.includes('"next"') || body.includes('"errors"')) return fail(new Error(body.toString()));
      state = 'open';
      onMessage(body);
      return resolve({
        close() {
          closing = true;
          wire.destroy();
        },
      });
    };
    wire.once('error', fail);
    wire.once('close', () => fail(new Error('the socket was closed')));
    wire.on('data', (bytes) => {
      rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
      if (state === 'upgrade') {
        const end = rest.indexOf(HEAD_END);
        if (end === -1) return;
        if (!rest.includes(' 101 ')) return fail(new Error(rest.toString()));
        rest = rest.subarray(end + HEAD_END.length);
        state = 'init';
        sendFrame(wire, TEXT, Buffer.from('{"type":"connection_init"}'));
      }
      rest = readFrames(rest, onFrame);
    });
    wire.write(
      [
        `GET ${url.pathname} HTTP/1.1`,
        `Host: ${url.host}`,
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        'Sec-WebSocket-Protocol: graphql-transport-ws',
        '',
        '',
      ].join('\r\n'),
    );
  });
}

/** Calls `onFrame` for every whole frame; returns what is left. Servers do not mask, and none here splits a message. */
function readFrames(bytes: Buffer, onFrame: (opcode: number, body: Buffer) => unknown): Buffer {
  let at = 0;
  while (bytes.length >= at + 2) {
    const short = (bytes[at + 1] ?? 0) & 0x7f;
    const head = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < at + head) break;
    const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : bytes.readUInt32BE(at + 6);
    const end = at + head + length;
    if (bytes.length < end) break;
    onFrame((bytes[at] ?? 0) & 0x0f, bytes.subarray(at + head, end));
    at = end;
  }
  return bytes.subarray(at);
}

/** Clients must mask; a mask of zeros leaves the bytes as they are. */
function sendFrame(wire: Socket, opcode: number, body: Buffer): void {
  const mask = Buffer.alloc(4);
  const head =
    body.length < 126
      ? Buffer.from([0x80 | opcode, 0x80 | body.length])
      : Buffer.from([0x80 | opcode, 0x80 | 126, body.length >> 8, body.length & 0xff]);
  wire.write(Buffer.concat([head, mask, body]));
}
