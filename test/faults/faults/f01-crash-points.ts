import { type CrashPoint, crashPoints } from '../../../src/crash-points.ts';
import { expectAtMost, type Fault } from '../harness/fault.ts';
import { pause, untilShown } from '../harness/moments.ts';
import { type RoleName, ready } from '../harness/processes.ts';
import type { Stage } from '../harness/stage.ts';

const RECOVERY_MAX_MS = 5_000;
const RESTART_MS = 500;
const COMMANDS = 50;
const CLIENTS = 4;

/** Which processes pass the points of a part. */
const ROLES = { gateway: ['gateway', 'all'], sequencer: ['worker', 'all'], delivery: ['worker', 'all'] } as const;

/** What is added to the list is tried without a change here. */
const pointsOf = (role: RoleName): readonly CrashPoint[] =>
  (Object.keys(crashPoints) as CrashPoint[]).filter((point) =>
    (ROLES[crashPoints[point]] as readonly RoleName[]).includes(role),
  );

const crashPointFault = (id: string, role: RoleName): Fault => ({
  id,
  title: `a process (${role}) is killed at every named point of the code that it passes`,
  target: '100 % of the points; everything acknowledged is shown < 5 s after the restart of what was killed',
  timeoutMs: 600_000,
  async run(stage, size) {
    await stage.populate({ gateways: 1, workers: 1, accounts: 5 });
    await stopAll(stage);
    const recoveriesMs = new Map<string, number>();
    // The process that dies is the only one of its kind; the other kind goes on.
    if (role !== 'all') await stage.start(role === 'gateway' ? 'worker' : 'gateway');
    for (const point of pointsOf(role).slice(0, size === 'brief' ? 2 : undefined)) {
      recoveriesMs.set(point, await killAt(stage, point, role));
    }
    await Promise.all([stage.start('worker'), stage.start('gateway')]);
    await stage.drained(20_000);
    const slowest = [...recoveriesMs].sort((a, b) => b[1] - a[1])[0] ?? ['', 0];
    for (const [point, ms] of recoveriesMs) expectAtMost(`recovery after ${point} in ms`, ms, RECOVERY_MAX_MS);
    return {
      points: recoveriesMs.size,
      'slowest recovery ms': `${slowest[1]} (${slowest[0]})`,
      'median recovery ms': [...recoveriesMs.values()].sort((a, b) => a - b)[Math.floor(recoveriesMs.size / 2)] ?? 0,
      acknowledged: stage.history.of('ok').length,
    };
  },
});

/** Every name, each kind of process that passes it. */
export const crashPointFaults: readonly Fault[] = [
  crashPointFault('F1a', 'gateway'),
  crashPointFault('F1b', 'worker'),
  crashPointFault('F1c', 'all'),
];

async function stopAll(stage: Stage): Promise<void> {
  for (const one of stage.processes.all) {
    if (one.port !== 0) stage.forgetPort(one.port);
    if (one.ended === undefined) await one.stop();
  }
}

/** Fifty commands, in the middle of which the process dies; how long after its restart all is shown. */
async function killAt(stage: Stage, point: CrashPoint, role: RoleName): Promise<number> {
  // Soon enough that fifty commands come so far: batches hold several of them.
  const env = { MILLRACE_CRASH: `${point}#${1 + stage.random.below(3)}` };
  const armed = await stage.begin(role, { env, mayEnd: true });
  await Promise.race([ready(armed), armed.exited]);
  const sending = everyKind(stage);
  const ended = await Promise.race([armed.exited, pause(30_000).then(() => 'nothing')]);
  if (ended !== 'SIGKILL') throw new Error(`${role} at ${point} ended with ${ended}: ${armed.log().slice(-3_000)}`);
  await pause(RESTART_MS);
  const restartedMs = performance.now();
  const again = await stage.begin(role, armed.port === 0 ? {} : { port: armed.port });
  await sending;
  await untilShown(stage);
  const recoveryMs = Math.round(performance.now() - restartedMs);
  await again.stop();
  if (armed.port !== 0) stage.forgetPort(armed.port);
  return recoveryMs;
}

/** Commands of every kind, so that every point is passed: a transfer without money is refused, which its saga is told. */
async function everyKind(stage: Stage): Promise<void> {
  const { clients, random } = stage;
  const client = async (_: unknown, index: number): Promise<void> => {
    for (let n = 0; n < COMMANDS / CLIENTS; n++) {
      const [from = '', to = ''] = random.shuffled(clients.accounts);
      if (n % 4 === 0) await clients.charge(index, from, 1 + random.below(9), n % 8 === 0 ? 100 : undefined);
      else if (n % 4 === 1) await clients.transfer(index, from, to, 1_000_000);
      else if (n % 4 === 2) await clients.transfer(index, from, to, 1);
      else await clients.command(index, 'deposit', from, 1 + random.below(9));
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
}
