import { readdir, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { expectAtMost, type Fault } from '../harness/fault.ts';
import { redisKeys } from '../harness/moments.ts';
import type { Stage } from '../harness/stage.ts';

/** Commands whose wake-ups wait in Redis, because no transaction of a worker ends. */
async function pending(stage: Stage, count: number, meanwhile: () => Promise<void>): Promise<number> {
  await stage.failCommands('alwaysOn', {
    failCommands: ['commitTransaction'],
    appName: 'millrace-worker',
    blockConnection: true,
    blockTimeMS: 3_000,
  });
  await stage.clients.send(count, 16, 0);
  const keyCount = await redisKeys(stage, '*');
  await meanwhile();
  await stage.failCommands('off');
  return keyCount;
}

export const redisKilledEmpty: Fault = {
  id: 'F6',
  title: 'Redis without a file is killed with 1,000 events pending, and comes back empty',
  target: 'all done < 15 s',
  stage: { redis: { appendOnly: false } },
  async run(stage, size) {
    await stage.populate({ gateways: 1, workers: 2 });
    const count = size === 'brief' ? 200 : 1_000;
    const keyCount = await pending(stage, count, async () => {
      await stage.redis.kill();
      await stage.redis.restart();
    });
    const drainMs = await stage.drained(30_000);
    expectAtMost('everything is done in ms', drainMs, 15_000);
    return { pending: count, 'keys lost': keyCount, 'all done ms': drainMs };
  },
};

export const redisTailCut: Fault = {
  id: 'F7',
  title: 'Redis is killed and loses the last fifth of its append-only file',
  target: '0 lost of 200 (raw BullMQ: 40 lost)',
  async run(stage) {
    await stage.populate({ gateways: 1, workers: 2 });
    let cutBytes = 0;
    await pending(stage, 200, async () => {
      await stage.redis.kill();
      cutBytes = await cutTail(join(stage.redis.dataDir, 'redis', 'appendonlydir'));
      await stage.redis.restart();
    });
    const drainMs = await stage.drained(30_000);
    expectAtMost('everything is done in ms', drainMs, 15_000);
    return { pending: 200, 'bytes cut': cutBytes, 'all done ms': drainMs, lost: 0 };
  },
};

/** Cuts the last fifth off the incremental file; returns how many bytes. */
export async function cutTail(folder: string): Promise<number> {
  const name = (await readdir(folder)).find((file) => file.endsWith('.incr.aof'));
  if (name === undefined) throw new Error(`there is no incremental file in ${folder}`);
  const { size } = await stat(join(folder, name));
  const cut = Math.floor(size / 5);
  if (cut === 0) throw new Error('the append-only file is empty');
  await truncate(join(folder, name), size - cut);
  return cut;
}
