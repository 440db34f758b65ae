import { ResumingClient, type Watched } from '../setup/resuming-clients.ts';

/*
 * The healthy subscribers of slow-subscriber.ts, in a process of their own. A command's id begins with the time when it was
 * sent, so that the messages tell how long it took.
 */

const [port = '', count = '', kind = 'list'] = process.argv.slice(2);
let latenciesMs: number[] = [];
const watched: Watched = kind === 'log' ? { kind: 'log' } : { kind: 'list' };
const clients = Array.from(
  { length: Number(count) },
  () =>
    new ResumingClient(watched, {
      ports: [Number(port)],
      onCommands(commandIds) {
        const now = Date.now();
        for (const commandId of commandIds) latenciesMs.push(now - Number(commandId.split('-', 1)[0]));
      },
    }),
);

process.on('message', () => {
  const answer = { latenciesMs, ready: clients.every(({ caughtUp }) => caughtUp) };
  latenciesMs = [];
  process.send?.(answer);
});
process.on('disconnect', () => process.exit());
