import { expectEqual, type Fault } from '../harness/fault.ts';
import { pause } from '../harness/moments.ts';

const POINTS = ['before-append', 'after-append', 'before-reply'] as const;

export const gatewayKilledBeforeReply: Fault = {
  id: 'F3',
  title: 'a gateway is killed between append and reply; clients send again with the same commandId',
  target: '0 lost, the same result for each repetition, one effect',
  profiles: ['production'],
  async run(stage, size) {
    await stage.populate({ gateways: 1, workers: 1, accounts: 10 });
    const [first] = stage.ports;
    if (first !== undefined) stage.forgetPort(first);
    const rounds = size === 'brief' ? 1 : 3;
    let kills = 0;
    for (let round = 0; round < rounds; round++) {
      for (const point of POINTS) {
        const env = { MILLRACE_CRASH: `${point}#${1 + stage.random.below(10)}` };
        const armed = await stage.start('gateway', { env, mayEnd: true });
        const sending = stage.clients.send(60, 6, 0);
        const ended = await Promise.race([armed.exited, pause(stage.mostMs(20_000)).then(() => 'nothing')]);
        expectEqual(`the gateway at ${point} ended with`, ended, 'SIGKILL');
        kills++;
        const again = await stage.start('gateway', { port: armed.port });
        await sending;
        await again.stop();
        stage.forgetPort(armed.port);
      }
    }
    await stage.start('gateway');
    let repeated = 0;
    for (const operation of stage.history.of('ok')) {
      // A charge was queued when it was first answered; by now it is carried out.
      if (operation.kind === 'open' || operation.kind === 'charge') continue;
      const { __typename, version, duplicate, events = [] } = await stage.clients.repeat(operation);
      expectEqual(
        `the repetition of ${operation.commandId}`,
        { __typename, version, duplicate, events: events.map(({ id }) => id) },
        { __typename: 'CommandAccepted', version: operation.version, duplicate: true, events: operation.eventIds },
      );
      repeated++;
    }
    const drainMs = await stage.drained(20_000);
    const retried = stage.history.operations.filter(({ tries }) => tries > 2).length;
    return { kills, 'sent again by clients': retried, 'repeated with the same result': repeated, 'drain ms': drainMs };
  },
};
