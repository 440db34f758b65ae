import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '../../setup/until.ts';
import { expectAtMost, expectEqual, type Fault } from '../harness/fault.ts';
import { pause, underLoad, untilAcknowledged } from '../harness/moments.ts';
import type { Member } from '../harness/servers.ts';
import type { Stage } from '../harness/stage.ts';

const STEPDOWN_MAX_MS = 10_000;
const KILL_MAX_MS = 15_000;

export const stepDown: Fault = {
  id: 'F12a',
  title: 'the primary of three members steps down, again and again',
  target: 'writes back < 10 s each; the change stream goes on, no history lost',
  profiles: ['production'],
  stage: { mongo: 'three' },
  timeoutMs: 300_000,
  async run(stage, size) {
    const { workers } = await stage.populate({ gateways: 1, workers: 2 });
    const backMs: number[] = [];
    await underLoad(stage, { perSecond: 50 }, async () => {
      for (let round = 0; round < (size === 'brief' ? 1 : 5); round++) {
        await pause(1_500);
        const primary = await stage.members.primary();
        await primary.direct
          .db('admin')
          .command({ replSetStepDown: 10, secondaryCatchUpPeriodSecs: 5 })
          .catch(() => undefined);
        backMs.push(await untilAcknowledged(stage));
      }
    });
    const drainMs = await stage.drained(30_000);
    expectEqual(
      'change streams that lost their history',
      workers.reduce((sum, worker) => sum + worker.logged('change stream lost'), 0),
      0,
    );
    expectAtMost('writes back after a step-down in ms', Math.max(...backMs), STEPDOWN_MAX_MS);
    return { 'step-downs': backMs.length, 'writes back, at most, ms': Math.max(...backMs), 'drain ms': drainMs };
  },
};

export const primaryKilled: Fault = {
  id: 'F12b',
  title: 'the primary of three members is killed',
  target: 'writes back < 15 s',
  profiles: ['production'],
  stage: { mongo: 'three' },
  timeoutMs: 300_000,
  async run(stage) {
    await stage.populate({ gateways: 1, workers: 2 });
    const backMs: number[] = [];
    await underLoad(stage, { perSecond: 50 }, async () => {
      for (let round = 0; round < 2; round++) {
        await pause(2_000);
        const primary = await stage.members.primary();
        await primary.kill();
        backMs.push(await untilAcknowledged(stage));
        await primary.restart();
        await untilSecondary(primary);
      }
    });
    const drainMs = await stage.drained(30_000);
    expectAtMost('writes back after a kill in ms', Math.max(...backMs), KILL_MAX_MS);
    return { kills: backMs.length, 'writes back, at most, ms': Math.max(...backMs), 'drain ms': drainMs };
  },
};

export const rollback: Fault = {
  id: 'F12c',
  title: 'an isolated primary takes writes that are rolled back, an insert of the sequencer among them',
  target: 'nothing that was shown is taken back, no hole in a stream; the rollback is real',
  stage: { mongo: 'three' },
  timeoutMs: 300_000,
  async run(stage) {
    await stage.populate({ gateways: 2, workers: 2 });
    let lost = { commits: 0, positions: 0 };
    let backMs = 0;
    await underLoad(stage, { perSecond: 120, clientCount: 32 }, async () => {
      await pause(2_000);
      const primary = await stage.members.primary();
      const others = stage.members.members.filter((member) => member !== primary);
      // The next insert of the sequencer waits in the server; what it waits for is in a majority of `commits`.
      await primary.direct.db('admin').command({
        configureFailPoint: 'failCommand',
        mode: { times: 1 },
        data: { failCommands: ['insert'], appName: 'millrace-worker', blockConnection: true, blockTimeMS: 1_200 },
      });
      await pause(600);
      // Nobody replicates any more; the primary goes on taking writes without a majority. (Stopped members did not always do:
      // once there was nothing to roll back when they had gone on.)
      await replicate(others, false);
      lost = await untilWrittenAlone(stage, primary);
      primary.signal('SIGSTOP');
      await replicate(others, true);
      await stage.members.primary(60_000, others);
      const electedMs = performance.now();
      await untilAcknowledged(stage);
      backMs = Math.round(performance.now() - electedMs);
      await pause(2_000);
      // It comes back, finds that others went on, and takes its own writes back.
      primary.signal('SIGCONT');
      await untilSecondary(primary);
      await untilRolledBack(primary);
    });
    const drainMs = await stage.drained(60_000);
    return {
      'commits rolled back, at least': lost.commits,
      'positions of the log rolled back, at least': lost.positions,
      'writes back after the election ms': backMs,
      'drain ms': drainMs,
    };
  },
};

/** Whether these members take over what the primary writes. */
async function replicate(members: readonly Member[], is: boolean): Promise<void> {
  const mode = is ? 'off' : 'alwaysOn';
  await Promise.all(
    members.map(({ direct }) => direct.db('admin').command({ configureFailPoint: 'stopReplProducer', mode })),
  );
}

/** Documents that only the primary has: in its `commits` and, by an insert of the sequencer in flight, in its log. */
async function untilWrittenAlone(stage: Stage, primary: Member): Promise<{ commits: number; positions: number }> {
  const db = primary.direct.db(stage.db.databaseName);
  const count = async (name: string, level: 'local' | 'majority'): Promise<number> =>
    db
      .collection(name)
      .aggregate<{ n: number }>([{ $count: 'n' }], { readConcern: { level }, timeoutMS: 2_000 })
      .toArray()
      .then(([found]) => found?.n ?? 0);
  let seen = { commits: 0, positions: 0 };
  await until(
    'the isolated primary has commits and positions that no majority has',
    async () => {
      seen = {
        commits: (await count('commits', 'local')) - (await count('commits', 'majority')),
        positions: (await count('events', 'local')) - (await count('events', 'majority')),
      };
      return (seen.commits > 1 && seen.positions > 1) || undefined;
    },
    { timeoutMs: 8_000, seen: () => seen },
  );
  return seen;
}

function untilSecondary(member: Member): Promise<true> {
  return until(
    `${member.host} is a secondary`,
    async () => {
      const hello = await member.direct
        .db('admin')
        .command({ hello: 1 }, { timeoutMS: 2_000 })
        .catch(() => undefined);
      return hello?.secondary === true || hello?.isWritablePrimary === true || undefined;
    },
    { timeoutMs: 60_000 },
  );
}

/** Files of removed documents, and the server's own word for it. */
async function untilRolledBack(member: Member): Promise<void> {
  let seen: unknown;
  await until(
    'a rollback on the member that was isolated',
    async () => {
      const folders = await readdir(join(member.dataDir, 'mongo', 'rollback')).catch(() => []);
      const log = await readFile(join(member.dataDir, 'mongo.log'), 'utf8');
      const told = log.split('\n').filter((line) => line.includes('"c":"ROLLBACK"')).length;
      seen = { folders: folders.length, told };
      return (folders.length > 0 && told > 0) || undefined;
    },
    { timeoutMs: 60_000, seen: () => seen },
  );
}
