import { describe, expect, test } from 'vitest';
import type { FlowStep } from '../../src/engine/contract/flow.ts';
import { type FlowFacts, flowSteps, isSettled } from '../../src/engine/flow/flow-steps.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import type { CommitHead, QueuedHead } from '../../src/store/flow-reads.ts';

const at = (second: number): Date => new Date(Date.UTC(2026, 0, 1, 0, 0, second));
const metaOf = (causationId: string | null, actor: string | null = null) =>
  ({ correlationId: 'f', causationId, actor, tenant: 'default', traceparent: null, client: null }) as const;

const event = (id: string, commandId: string, second: number, causationId: string | null = null): LogDocument => ({
  _id: second,
  id,
  type: `Type${id}`,
  schemaVersion: 1,
  stream: 'default/order/1',
  version: second,
  data: {},
  meta: metaOf(causationId),
  commandId,
  at: at(second),
});
const head = (commandId: string, events: readonly string[], meta = metaOf(null), second = 1): CommitHead => ({
  stream: 'default/order/1',
  version: 1,
  command: { id: commandId, type: `Do-${commandId}` },
  events: events.map((id) => ({ id, type: `Type${id}` })),
  meta,
  at: at(second),
});
const queued = (commandId: string, more: Partial<QueuedHead> = {}): QueuedHead => ({
  _id: commandId,
  logId: 'main',
  stream: `default/till/${commandId}`,
  target: 'till',
  targetKind: 'service',
  id: commandId,
  commandId,
  type: 'Charge',
  meta: metaOf(null),
  state: 'RECEIVED',
  attempts: 0,
  delivery: 1,
  receivedAt: at(1),
  updatedAt: at(1),
  ...more,
});
const facts = (of: {
  readonly events?: readonly LogDocument[];
  readonly heads?: readonly CommitHead[];
  readonly queued?: readonly QueuedHead[];
  readonly sagas?: Partial<FlowFacts['sagas']>;
}): FlowFacts => ({
  events: of.events ?? [],
  handlings: [],
  queued: new Map((of.queued ?? []).map((one) => [`${one.stream}\u0000${one.commandId}`, one])),
  heads: new Map((of.heads ?? []).map((one) => [`${one.stream}\u0000${one.command.id}`, one])),
  rejections: new Map(),
  isService: (name) => name === 'till',
  decode: () => ({ ok: false, error: new Error('of newer code') }),
  sagas: { steps: [], senders: new Map(), handledAt: new Map(), ...of.sagas },
});
const shown = (steps: readonly FlowStep[]): string[] =>
  steps.map(({ id, parentId, kind, status }) => `${kind} ${id} ${status} < ${parentId ?? '-'}`);

describe('the steps of a flow', () => {
  test('an event of a commit that is not in the log yet is there, and waits', () => {
    const steps = flowSteps(facts({ events: [event('a', 'c', 2)], heads: [head('c', ['a', 'b'])] }));
    expect(shown(steps)).toEqual([
      'COMMAND default/order/1#c DONE < -',
      'EVENT b PENDING < default/order/1#c',
      'EVENT a DONE < default/order/1#c',
    ]);
    // What this process cannot read is shown without its data, and says so.
    expect(steps.at(-1)).toMatchObject({ event: null, error: { code: 'EVENT_INVALID' } });
  });

  test('causes come first whatever the clocks say, and circles end', () => {
    const early = [head('late', ['x'], metaOf('y'), 1), head('later', ['y'], metaOf('x'), 9)];
    const steps = flowSteps(facts({ events: [event('x', 'late', 1), event('y', 'later', 9)], heads: early }));
    expect(steps).toHaveLength(4);
    const places = new Map(steps.map(({ id }, place) => [id, place]));
    const broken = steps.filter(({ id, parentId }) => Number(places.get(parentId ?? id)) > Number(places.get(id)));
    expect(broken.length).toBeLessThanOrEqual(1);
  });

  test('a command whose cause lies outside the flow begins it', () => {
    const steps = flowSteps(facts({ heads: [head('c', [], metaOf('elsewhere'))] }));
    expect(shown(steps)).toEqual(['COMMAND default/order/1#c DONE < -']);
  });

  test('what a saga sent has the saga’s step as its cause, whether its timeline is there or not', () => {
    const sent = head('s', [], metaOf('a', 'saga:mover'), 3);
    const known = { events: [event('a', 'c', 2)], heads: [head('c', ['a']), sent] };
    const [, , saga] = flowSteps(facts(known));
    // Its handling is not read here, so the cause is left out rather than wrong.
    expect(saga).toMatchObject({ id: 'default/order/1#s', parentId: null });
    const timer: FlowStep = {
      id: 'mover/1/soon/1',
      parentId: 'a',
      kind: 'TIMER',
      name: 'mover: soon',
      subject: '1',
      status: 'DONE',
      attempts: 1,
      startedAt: at(3),
      durationMs: 0,
      error: null,
      event: null,
      truncated: false,
    };
    const steps = flowSteps(facts({ ...known, sagas: { steps: [timer], senders: new Map([['s', timer.id]]) } }));
    expect(shown(steps).slice(-2)).toEqual([
      'TIMER mover/1/soon/1 DONE < a',
      'COMMAND default/order/1#s DONE < mover/1/soon/1',
    ]);
  });

  test.each([
    [{}, 'PENDING', 0],
    [{ state: 'RUNNING' }, 'RUNNING', 1],
    [{ state: 'RUNNING', attempts: 2 }, 'RETRYING', 2],
    [{ state: 'DEAD', attempts: 5 }, 'DEAD', 5],
    [{ state: 'CANCELLED' }, 'CANCELLED', 1],
    [{ state: 'ACCEPTED', startedAt: at(2), finishedAt: at(4) }, 'DONE', 1],
  ] as const)('a queued command that is %o is %s', (more, status, attempts) => {
    const [step] = flowSteps(facts({ queued: [queued('q', more)] }));
    expect(step).toMatchObject({ kind: 'SERVICE', name: 'Charge', subject: 'till/q', status, attempts });
    expect(step?.durationMs).toBe(status === 'DONE' ? 2_000 : null);
  });

  test('only what waits for a time in the future may be left waiting', () => {
    const [waiting] = flowSteps(facts({ queued: [queued('q', { notBefore: at(30) })] }));
    if (waiting === undefined) throw new Error('the command is missing');
    expect([isSettled(waiting, at(29).getTime()), isSettled(waiting, at(31).getTime())]).toEqual([true, false]);
    expect(isSettled({ ...waiting, kind: 'PROJECTOR' }, at(0).getTime())).toBe(false);
    expect(isSettled({ ...waiting, status: 'RETRYING' }, at(0).getTime())).toBe(false);
    expect(isSettled({ ...waiting, status: 'DEAD' }, at(0).getTime())).toBe(true);
  });
});
