import { type CrashPoint, crashPoints } from '../../../src/crash-points.ts';
import { pause, redisCommand } from './moments.ts';
import type { RoleProcess } from './processes.ts';
import type { Stage } from './stage.ts';
import type { LinkMode } from './tcp-proxy.ts';

/** The processes of a long run; injections replace those that they end. */
export interface Crew {
  readonly gateways: RoleProcess[];
  readonly workers: RoleProcess[];
}

/** One kind of fault, injected and healed again; resolves when it is healed. */
export interface Injection {
  readonly name: string;
  /** How often it is chosen, compared with the others. */
  readonly weight: number;
  readonly inject: (stage: Stage, crew: Crew) => Promise<void>;
}

/** Another one takes the place, on the same port, half a second later. */
async function replace(
  stage: Stage,
  among: RoleProcess[],
  one: RoleProcess,
  env: Record<string, string> = {},
): Promise<void> {
  await pause(500);
  const port = one.port === 0 ? {} : { port: one.port };
  const mayEnd = Object.keys(env).length > 0;
  among.splice(among.indexOf(one), 1, await stage.start(one.role, { ...port, env, mayEnd }));
}

const kill =
  (kind: keyof Crew) =>
  async (stage: Stage, crew: Crew): Promise<void> => {
    const victim = stage.random.pick(crew[kind]);
    await victim.kill();
    await replace(stage, crew[kind], victim);
  };

/** One shortly after the other: nobody is left to take over. */
async function killAll(stage: Stage, { workers }: Crew): Promise<void> {
  const kills = [...workers].map(async (victim) => {
    await pause(stage.random.below(300));
    await victim.kill();
    await replace(stage, workers, victim);
  });
  await Promise.all(kills);
}

const restart =
  (kind: keyof Crew) =>
  async (stage: Stage, crew: Crew): Promise<void> => {
    const victim = stage.random.pick(crew[kind]);
    await victim.stop();
    await replace(stage, crew[kind], victim);
  };

/** A worker that will die at a point of its code, at the latest when this is over. */
async function crash(stage: Stage, crew: Crew): Promise<void> {
  const victim = stage.random.pick(crew.workers);
  const points = (Object.keys(crashPoints) as CrashPoint[]).filter((point) => crashPoints[point] !== 'gateway');
  await victim.kill();
  const env = { MILLRACE_CRASH: `${stage.random.pick(points)}#${1 + stage.random.below(30)}` };
  await replace(stage, crew.workers, victim, env);
  const armed = crew.workers.find(({ mayEnd }) => mayEnd);
  if (armed === undefined) return;
  await Promise.race([armed.exited, pause(5_000)]);
  if (armed.ended === undefined) await armed.kill();
  await replace(stage, crew.workers, armed);
}

async function freeze(stage: Stage, crew: Crew): Promise<void> {
  const victim = stage.random.pick([...crew.workers, ...crew.gateways]);
  victim.signal('SIGSTOP');
  await pause(500 + stage.random.below(6_000));
  victim.signal('SIGCONT');
}

async function breakLinks(stage: Stage): Promise<void> {
  const modes: readonly LinkMode[] = [
    { kind: 'reset' },
    { kind: 'blackhole' },
    { kind: 'upOnly' },
    { kind: 'downOnly' },
  ];
  const links = stage.random.shuffled(stage.links).slice(0, 1 + stage.random.below(stage.links.length));
  for (const link of links) link.set(stage.random.pick(modes));
  await pause(500 + stage.random.below(4_000));
  for (const link of links) {
    link.set({ kind: 'reset' });
    link.set({ kind: 'pass' });
  }
}

const failpoint =
  (times: number, data: Record<string, unknown>) =>
  async (stage: Stage): Promise<void> => {
    await stage.failCommands({ times }, data);
    await pause(2_000);
    await stage.failCommands('off');
  };

const LOST = { closeConnection: true };
const UNSAFE = { writeConcernError: { code: 64, errmsg: 'waiting for replication timed out' } };

export const injections: readonly Injection[] = [
  { name: 'worker killed', weight: 4, inject: kill('workers') },
  { name: 'all workers killed', weight: 1, inject: killAll },
  { name: 'gateway killed', weight: 2, inject: kill('gateways') },
  { name: 'worker restarted', weight: 2, inject: restart('workers') },
  { name: 'gateway restarted', weight: 2, inject: restart('gateways') },
  { name: 'worker killed at a crash point', weight: 4, inject: crash },
  { name: 'process stands still', weight: 3, inject: freeze },
  { name: 'links broken', weight: 3, inject: breakLinks },
  {
    name: 'FLUSHALL',
    weight: 2,
    inject: async (stage) => {
      await redisCommand(stage, 'FLUSHALL');
    },
  },
  {
    name: 'Redis killed',
    weight: 2,
    inject: async (stage) => {
      await stage.redis.kill();
      await pause(stage.random.below(4_000));
      await stage.redis.restart();
    },
  },
  {
    name: 'mongod killed',
    weight: 2,
    inject: async (stage) => {
      await stage.mongo.kill();
      await pause(stage.random.below(1_000));
      await stage.mongo.restart();
    },
  },
  {
    name: 'commits answered with a lost connection',
    weight: 1,
    inject: failpoint(3, { failCommands: ['commitTransaction', 'insert'], ...LOST }),
  },
  {
    name: 'commits not known to be safe',
    weight: 1,
    inject: failpoint(3, { failCommands: ['commitTransaction', 'insert'], ...UNSAFE }),
  },
];

/** One by its weight; always the same with `only`. */
export function chosen(stage: Stage, only?: string): Injection {
  const among = injections.filter(({ name }) => only === undefined || name === only);
  const bag = among.flatMap((injection) => Array.from({ length: injection.weight }, () => injection));
  return stage.random.pick(bag);
}
