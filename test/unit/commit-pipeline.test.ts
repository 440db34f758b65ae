import { describe, expect, it } from 'vitest';
import { CommitPipeline } from '../../src/engine/partitions/commit-pipeline.ts';
import { ABSENT } from '../../src/engine/partitions/document-cache.ts';
import { PartitionHead } from '../../src/engine/partitions/partition-head.ts';
import type { CommitEnd } from '../../src/store/partitions.ts';
import { SideWrites } from '../../src/store/side-writes.ts';
import { until } from '../setup/until.ts';

const build = { view: 'v', generation: 1 };
const ENOUGH_EVENTS = 20_000;
const ENOUGH_WRITES = 5_000;

/** A pipeline over a store whose transactions end when and how the test says. */
function started() {
  const transactions: ((end: CommitEnd) => void)[] = [];
  /** Partitions of each transaction that was begun. */
  const asked: string[] = [];
  const moves: ((error?: Error) => void)[] = [];
  const lost: string[] = [];
  const written: number[] = [];
  const pipeline = new CommitPipeline({
    store: {
      commit: (steps) => {
        asked.push(steps.map(({ partition }) => partition).join(' '));
        return new Promise((resolve) => transactions.push(resolve));
      },
      moveEach: () => new Promise((resolve, reject) => moves.push((error) => (error ? reject(error) : resolve()))),
    },
    onRest: () => undefined,
    onWritten: (steps) => written.push(...steps.map(({ partition }) => partition)),
    onLost: (steps, { kind }) => lost.push(...steps.map(({ head }) => `${head.ref.partition} ${kind}`)),
  });
  return { pipeline, transactions, asked, moves, lost, written };
}

function headAt(partition: number): PartitionHead {
  const head = new PartitionHead({ consumer: 'c', generation: 1, partition }, 1_000_000);
  const at = { checkpoint: 0, revision: 0, failure: undefined, blockedCount: 0, mark: undefined, paused: false };
  head.learn({ ...head.ref, ...at, idleMs: 0 });
  return head;
}

/** Handles `count` events on top of what the partition has. */
function handle(pipeline: CommitPipeline, head: PartitionHead, count: number): void {
  const checkpoint = (head.tip?.checkpoint ?? 0) + count;
  pipeline.reach(pipeline.step(head, build), checkpoint, count);
}

/** Rejects with what was awaited: a handler that waits for ever would only time out. */
async function goesOn(room: Promise<void>): Promise<void> {
  let gone = false;
  void room.then(() => {
    gone = true;
  });
  await until('room for handlers', () => gone || undefined);
}

describe('the room of the commit pipeline', () => {
  it.each<CommitEnd>([{ kind: 'refused' }, { kind: 'unknown', error: new Error('no answer') }])(
    'comes back when a transaction is lost ($kind), with what was handled on top of it',
    async (end) => {
      const { pipeline, transactions, lost } = started();
      const head = headAt(3);
      handle(pipeline, head, 10);
      pipeline.kick();
      handle(pipeline, head, ENOUGH_EVENTS);
      expect(pipeline.full).toBe(true);
      const waiting = pipeline.room();
      transactions.shift()?.(end);
      await goesOn(waiting);
      expect(lost).toEqual([`3 ${end.kind}`]);
      expect(pipeline.full).toBe(false);
      expect(transactions).toEqual([]);
    },
  );

  it('is taken by documents, each once however often it changes, and by what is written beside them', () => {
    const { pipeline } = started();
    const step = pipeline.step(headAt(3), build);
    for (let count = 0; count < 2 * ENOUGH_WRITES; count++) pipeline.change(step, `k${count % 10}`, ABSENT);
    pipeline.reach(step, 2 * ENOUGH_WRITES, 2 * ENOUGH_WRITES);
    expect(pipeline.full).toBe(false);
    const side = new SideWrites();
    for (let count = 0; count < ENOUGH_WRITES / 2; count++) {
      pipeline.change(step, `n${count}`, ABSENT);
      side.remove('timers', `t${count}`);
    }
    expect(pipeline.full).toBe(false);
    pipeline.beside(step, side);
    expect(pipeline.full).toBe(true);
  });

  it('comes back when a move of checkpoints is lost, and what was handled on top of it is told as lost', async () => {
    const { pipeline, moves, lost, transactions } = started();
    const [head, idle] = [headAt(3), headAt(4)];
    head.scanned = idle.scanned = 7;
    pipeline.moveLazily([head, idle]);
    handle(pipeline, head, ENOUGH_EVENTS);
    const waiting = pipeline.room();
    moves.shift()?.(new Error('no answer'));
    await goesOn(waiting);
    expect(pipeline.full).toBe(false);
    expect(lost).toEqual(['3 failed']);
    expect(transactions).toEqual([]);
  });

  it('stays taken by what others handled, which is written next', async () => {
    const { pipeline, transactions, written } = started();
    const [lost, other] = [headAt(1), headAt(2)];
    handle(pipeline, lost, 10);
    pipeline.kick();
    handle(pipeline, lost, 10);
    handle(pipeline, other, ENOUGH_EVENTS);
    const waiting = pipeline.room();
    transactions.shift()?.({ kind: 'refused' });
    await goesOn(waiting);
    const next = await until('the next transaction', () => transactions.shift());
    next({ kind: 'committed' });
    await pipeline.idle();
    expect(written).toEqual([2]);
    expect(other.committedRevision).toBe(1);
  });
});

describe('a transaction of several partitions', () => {
  const begin = () => {
    const all = started();
    const heads = [0, 1, 2, 3, 4, 5].map(headAt);
    for (const head of heads) handle(all.pipeline, head, 10);
    all.pipeline.kick();
    // What is handled on top of it waits.
    handle(all.pipeline, heads[0]!, 10);
    const answer = async (end: CommitEnd): Promise<void> => {
      const next = await until('a transaction', () => all.transactions.shift());
      next(end);
    };
    return { ...all, heads, answer };
  };

  it('is written without those that others moved', async () => {
    const { pipeline, asked, lost, written, heads, answer } = begin();
    await answer({ kind: 'refused', moved: [1, 4] });
    await answer({ kind: 'committed' });
    expect(await until('what was handled on top', () => asked[2])).toBe('0');
    await answer({ kind: 'committed' });
    await pipeline.idle();
    expect(asked).toEqual(['0 1 2 3 4 5', '0 2 3 5', '0']);
    expect(lost).toEqual(['1 refused', '4 refused']);
    expect(written).toEqual([0, 2, 3, 5, 0]);
    expect(heads.map(({ tip }) => tip?.revision)).toEqual([2, undefined, 1, 1, undefined, 1]);
  });

  it.each<CommitEnd>([{ kind: 'conflict' }, { kind: 'unstorable', error: new Error('too deep') }, { kind: 'refused' }])(
    'is halved until those are alone that stop it ($kind)',
    async (end) => {
      const { pipeline, asked, lost, written, answer } = begin();
      const stops = (partitions = ''): boolean => partitions.split(' ').includes('4');
      for (let count = 1; written.length < 6; count++) {
        const partitions = await until('another transaction', () => asked[count - 1]);
        await answer(stops(partitions) ? end : { kind: 'committed' });
        await until('its end', () => asked.length > count || lost.length + written.length >= 6 || undefined);
      }
      await pipeline.idle();
      expect(asked).toEqual(['0 1 2 3 4 5', '0 1 2', '3 4 5', '3 4', '5', '3', '4', '0']);
      expect(lost).toEqual([`4 ${end.kind}`]);
      expect(written.toSorted()).toEqual([0, 0, 1, 2, 3, 5]);
    },
  );
});
