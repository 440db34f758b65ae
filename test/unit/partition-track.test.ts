import { describe, expect, it } from 'vitest';
import { PartitionTrack } from '../../src/engine/subscriptions/partition-track.ts';
import type { ViewDocument } from '../../src/store/documents.ts';

const change = (revision: number) => ({ revision, ids: [`d${revision}`] });
const document = (id: string, revision: number): ViewDocument => ({
  _id: id,
  _partition: 0,
  _revision: revision,
  _position: revision,
  _version: revision,
  _origins: [],
});

describe('the hints of a partition', () => {
  it('are taken together as far as no revision is missing', () => {
    const track = new PartitionTrack(3);
    for (const revision of [4, 5, 7]) track.hear(change(revision));
    expect(track.step(0, 20)).toMatchObject({ kind: 'changes', upTo: 5 });
    track.deliver(5);
    expect(track.step(0, 20)).toBeUndefined();
    expect(track.waits).toBe(true);
  });

  it('may come out of order, late and twice', () => {
    const track = new PartitionTrack(0);
    for (const revision of [3, 1, 2, 3, 1]) track.hear(change(revision));
    const step = track.step(0, 20);
    expect(step?.kind === 'changes' && step.changes.map(({ revision }) => revision)).toEqual([1, 2, 3]);
    track.deliver(3);
    track.hear(change(2));
    expect(track.step(1_000, 20)).toBeUndefined();
    expect(track.waits).toBe(false);
  });

  it('are read as a range when a hole does not fill in time, also when only a poll tells of it', () => {
    const track = new PartitionTrack(10);
    track.hearRevision(12);
    expect(track.step(100, 20)).toBeUndefined();
    expect(track.step(119, 20)).toBeUndefined();
    expect(track.step(120, 20)).toEqual({ kind: 'range', after: 10 });
    track.deliver(12);
    expect(track.step(1_000, 20)).toBeUndefined();
  });

  it('are not kept without limit behind a hole', () => {
    const track = new PartitionTrack(0);
    for (let revision = 2; revision < 100_000; revision++) track.hear(change(revision));
    track.step(0, 20);
    expect(track.step(20, 20)).toEqual({ kind: 'range', after: 0 });
    expect(track.heard).toBe(99_999);
  });

  it('are not kept when they tell of too many documents: those are read by pages', () => {
    const track = new PartitionTrack(0);
    const ids = Array.from({ length: 900 }, (_, n) => `d${n}`);
    for (const revision of [1, 2]) track.hear({ revision, ids });
    expect(track.step(0, 20)).toMatchObject({ kind: 'changes', upTo: 2 });
    track.deliver(2);
    for (const revision of [3, 4, 5]) track.hear({ revision, ids });
    track.step(0, 20);
    expect(track.step(20, 20)).toEqual({ kind: 'range', after: 2 });
  });
});

describe('a document', () => {
  it('is handed out only when it is newer than what was handed out before', () => {
    const track = new PartitionTrack(5);
    expect(track.admits(document('a', 5))).toBe(false);
    expect(track.admits(document('a', 8))).toBe(true);
    expect(track.admits(document('a', 8))).toBe(false);
    expect(track.admits(document('a', 7))).toBe(false);
    expect(track.admits(document('b', 7))).toBe(true);
    track.deliver(8);
    expect(track.admits(document('a', 8))).toBe(false);
    expect(track.admits(document('a', 9))).toBe(true);
  });
});
