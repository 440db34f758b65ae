import { connect, type Socket } from 'node:net';
import { afterAll, expect, it } from 'vitest';
import { roleProcesses } from '../setup/role-processes.ts';
import { testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

const processes = roleProcesses(testServers());
afterAll(() => processes.killAll());

const REQUEST_COUNT = 4_000;
const body = JSON.stringify({ query: '{ __typename }' });
const request = `POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const STATUS_LINE = 'HTTP/1.1 200';
const probe = 'GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n';

it('new clients are let in while those that are there keep a gateway busy', async () => {
  const { port } = await processes.gateway();
  // One is let in each turn, and 16 requests begin in one. It was after all of them. The order is that in which this process reads
  // the answers: one that had no turn of its own for seconds reads them all at once, and tries again.
  const shares: number[] = [];
  while (shares.length < 5 && !shares.some((share) => share < 0.75)) shares.push(await answeredBeforeProbes(port));
  expect(Math.min(...shares), `of ${shares}`).toBeLessThan(0.75);
});

/** Which part of the requests on connections that were there was answered before the last of fifty new clients was. */
async function answeredBeforeProbes(port: number): Promise<number> {
  const sockets: Socket[] = [];
  /** Opens a connection that asks this. */
  const ask = (text: string, onAnswer: () => void): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(socket)).on('error', reject);
      sockets.push(socket);
      let tail = '';
      socket.on('data', (bytes) => {
        const got = tail + bytes.toString('latin1');
        for (let at = got.indexOf(STATUS_LINE); at >= 0; at = got.indexOf(STATUS_LINE, at + 1)) onAnswer();
        // A status line may come in two parts; shorter than a whole one, so that none counts twice.
        tail = got.slice(1 - STATUS_LINE.length);
      });
      if (text !== '') socket.write(text);
    });
  let answered = 0;
  const busy = await Promise.all(Array.from({ length: 40 }, () => ask('', () => (answered += 1))));
  let probed = 0;
  let answeredBefore = 0;
  for (const socket of busy) socket.write(request.repeat(REQUEST_COUNT / busy.length));
  for (let n = 0; n < 50; n++) {
    void ask(probe, () => {
      probed += 1;
      answeredBefore = answered;
    });
  }
  await until('all answers', () => (answered === REQUEST_COUNT && probed === 50) || undefined, {
    seen: () => [answered, probed],
  });
  for (const socket of sockets) socket.destroy();
  return answeredBefore / REQUEST_COUNT;
}
