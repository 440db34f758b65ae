import type { Fault } from '../harness/fault.ts';
import { crashPointFaults } from './f01-crash-points.ts';
import { workersKilled } from './f02-workers-killed.ts';
import { gatewayKilledBeforeReply } from './f03-gateway-killed-before-reply.ts';
import { workerPaused } from './f04-worker-paused.ts';
import { redisKilledEmpty, redisTailCut } from './f06-f07-redis-lost.ts';
import { flushAll } from './f08-flushall.ts';
import { flushAllFull } from './f08b-flushall-full.ts';
import { redisAway, redisAwayLong } from './f09-redis-away.ts';
import { redisOutOfMemory } from './f10-redis-out-of-memory.ts';
import { mongodKilled } from './f11-mongod-killed.ts';
import { primaryKilled, rollback, stepDown } from './f12-three-members.ts';
import { commitUnknown } from './f14-commit-unknown.ts';
import { hotStream, sameKey } from './f16-f17-races.ts';
import { historyLost } from './f18-history-lost.ts';
import { twoSequencers } from './f20-two-sequencers.ts';
import { swizzledLinks } from './f21-swizzle.ts';
import { poison } from './f23-poison.ts';
import { slowSubscriber } from './f25-slow-subscriber.ts';
import { reconnects } from './f26-reconnects.ts';
import { clockSkew } from './f27-clock-skew.ts';
import { rollingRestart } from './f28-rolling-restart.ts';
import { rebuild } from './f29-rebuild.ts';

/** Every fault of the table that is tried as processes, in the order in which they run. */
export const faults: readonly Fault[] = [
  ...crashPointFaults,
  workersKilled,
  gatewayKilledBeforeReply,
  workerPaused,
  redisKilledEmpty,
  redisTailCut,
  flushAll,
  flushAllFull,
  redisAway,
  redisAwayLong,
  redisOutOfMemory,
  mongodKilled,
  stepDown,
  primaryKilled,
  rollback,
  commitUnknown,
  sameKey,
  hotStream,
  historyLost,
  twoSequencers,
  swizzledLinks,
  poison,
  slowSubscriber,
  reconnects,
  clockSkew,
  rollingRestart,
  rebuild,
];
