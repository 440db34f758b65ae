/**
 * Acceptance: `FLUSHALL` in the middle of 10,000 commands, five times, with production settings: all views are level within
 * 10 s of the last one, and nothing is lost.
 *
 *     node --conditions=millrace-source --import tsx test/acceptance/flushall.ts [PER_SECOND]
 *
 * Two gateway and two worker processes on servers of their own. Without PER_SECOND the commands come as fast as 32 at once go.
 */
import { Redis } from 'ioredis';
import { onStage, type Stage } from './stage.ts';

const COMMAND_COUNT = 10_000;
/** The last one so late that no later commands wake what it lost. */
const FLUSH_AT = [2_000, 4_000, 6_000, 8_000, 9_950];
const AT_ONCE = 32;
const LEVEL_MAX_MS = 10_000;

async function play(stage: Stage): Promise<void> {
  const perSecond = process.argv[2] === undefined ? undefined : Number(process.argv[2]);
  const redis = new Redis(stage.redis.url);
  const flushes: { at: number; keys: number }[] = [];
  let lastFlushMs = 0;
  const begun = performance.now();
  let next = 0;
  const sender = async (): Promise<void> => {
    for (let n = next++; n < COMMAND_COUNT; n = next++) {
      const dueMs = perSecond === undefined ? 0 : begun + (n * 1_000) / perSecond - performance.now();
      if (dueMs > 0) await new Promise((resolve) => setTimeout(resolve, dueMs));
      if (FLUSH_AT.includes(n)) {
        flushes.push({ at: n, keys: await redis.dbsize() });
        await redis.flushall();
        lastFlushMs = performance.now();
      }
      await stage.deposit(n);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, sender));
  const sentMs = performance.now();
  const level = await stage.untilLevel(LEVEL_MAX_MS);
  const flushToSentMs = Math.round(sentMs - lastFlushMs);
  redis.disconnect();
  console.table(flushes);
  console.log(`${COMMAND_COUNT} commands in ${Math.round(sentMs - begun)} ms, ${flushes.length} FLUSHALL among them.`);
  console.log(`The last command was acknowledged ${flushToSentMs} ms after the last FLUSHALL.`);
  console.log(
    `After it views showed everything in ${level.shownMs} ms, checkpoints were level in ${level.checkpointsMs} ms.`,
  );
  console.log(await stage.expectExact());
  if (flushes.length !== FLUSH_AT.length) throw new Error(`${flushes.length} FLUSHALL`);
}

await onStage(play);
