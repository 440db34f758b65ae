import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { aggregateModel } from '../../src/define/aggregate-model.ts';
import { decideCommand, foldEvents } from '../../src/define/decide.ts';
import { aggregate, type DecideContext, event, isMillraceError } from '../../src/index.ts';

const door = aggregate({
  name: 'door',
  events: {
    Built: event(z.object({ colour: z.string() }), { version: 2, upcast: { 1: () => ({ colour: 'grey' }) } }),
    Painted: z.object({ colour: z.string().max(5) }),
    Torn: z.object({}),
  },
  commands: { Build: z.object({}), Paint: z.object({ colour: z.string() }), Answer: z.unknown(), Tear: z.object({}) },
  creates: ['Build'],
  closes: ['Torn'],
  rejections: ['SAME_COLOUR'],
  initial: () => ({ colour: '' }),
  evolve: {
    Built: (_door, { colour }) => ({ colour }),
    Painted: (_door, { colour }) => ({ colour }),
    Torn: (door) => door,
  },
  decide: {
    Build: (_door, _data, ctx) => ({ type: 'Built', data: { colour: `${ctx.id}@${ctx.version}` } }),
    Paint: (door, { colour }, { reject }) =>
      door.colour === colour
        ? reject('SAME_COLOUR', `it is ${colour}`)
        : [{ type: 'Painted', data: { colour, extra: 1 } as { colour: string } }],
    // Whatever it is told: what an author without types may answer.
    Answer: (_door, data) => data as [],
    Tear: () => [{ type: 'Torn', data: {} }],
  },
});
const model = aggregateModel(door, 'aggregate "door"');
const context: Omit<DecideContext<string>, 'reject'> = {
  id: 'd',
  version: 7,
  commandId: 'c',
  now: new Date(0),
  newId: () => 'new',
};
const built = { state: { colour: 'grey' }, version: 1, closed: false };
const none = { state: { colour: '' }, version: 0, closed: false };
const decide = (loaded: typeof built, type: string, data: unknown) =>
  decideCommand(model, loaded, { type, data }, context);

function refusal(run: () => unknown) {
  try {
    run();
  } catch (error) {
    if (isMillraceError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('expected an error, there was none');
}

describe('the rules of the platform', () => {
  test('a creating command needs that there is nothing, any other that there is something', () => {
    expect(decide(none, 'Build', {})).toEqual({
      kind: 'events',
      events: [{ type: 'Built', schemaVersion: 2, data: { colour: 'd@7' } }],
    });
    expect(decide(built, 'Build', {})).toEqual({
      kind: 'rejected',
      code: 'ALREADY_EXISTS',
      reason: 'door "d": it exists already',
    });
    expect(decide(none, 'Paint', { colour: 'red' })).toMatchObject({ kind: 'rejected', code: 'NOT_FOUND' });
  });
  test('a closed stream refuses every command', () => {
    const torn = { ...built, version: 2, closed: true };
    for (const type of ['Build', 'Paint', 'Tear']) {
      expect(decide(torn, type, {})).toMatchObject({ kind: 'rejected', code: 'CLOSED' });
    }
  });
  test('without `creates` every command may be the first', () => {
    const free = aggregateModel(aggregate({ ...untangle(), creates: [] }), 'x');
    expect(decideCommand(free, none, { type: 'Go', data: {} }, context)).toEqual({ kind: 'events', events: [] });
  });
});

describe('what decide answers', () => {
  test('events are what their schemas put out, with today’s version', () => {
    expect(decide(built, 'Paint', { colour: 'red' })).toEqual({
      kind: 'events',
      events: [{ type: 'Painted', schemaVersion: 1, data: { colour: 'red' } }],
    });
  });
  test('a refusal carries its code and reason', () => {
    expect(decide(built, 'Paint', { colour: 'grey' })).toEqual({
      kind: 'rejected',
      code: 'SAME_COLOUR',
      reason: 'it is grey',
    });
  });
  test('event data that does not parse names aggregate, command, event and issue', () => {
    expect(refusal(() => decide(built, 'Paint', { colour: 'orange' }))).toEqual({
      code: 'EVENT_INVALID',
      message: expect.stringMatching(/^Aggregate "door", command "Paint": event "Painted" does not parse: colour: /),
    });
  });
  test('an event that is not declared is refused', () => {
    expect(refusal(() => decide(built, 'Answer', { type: 'Bought', data: {} })).code).toBe('EVENT_INVALID');
    expect(refusal(() => decide(built, 'Answer', { type: 'toString', data: {} })).code).toBe('EVENT_INVALID');
  });
  test('nothing follows a closing event', () => {
    const torn = { type: 'Torn', data: {} };
    expect(refusal(() => decide(built, 'Answer', [torn, torn])).code).toBe('EVENT_INVALID');
  });
  test.each([
    [undefined, 'undefined'],
    [null, 'null'],
    ['yes', 'a string'],
    [{}, 'an object without `type`'],
    [Promise.resolve([]), 'a promise'],
    [[undefined], 'undefined'],
    [[{ rejected: 'SAME_COLOUR', reason: '' }], 'a rejection inside an array'],
    [{ rejected: 'OTHER', reason: '' }, '"OTHER", which is not in `rejections` (SAME_COLOUR)'],
  ])('%j is no decision', (answer, shown) => {
    expect(refusal(() => decide(built, 'Answer', answer))).toEqual({
      code: 'DECISION_INVALID',
      message: expect.stringContaining(shown),
    });
  });
  test('an unknown command is refused by name', () => {
    expect(refusal(() => decide(built, 'toString', {}))).toMatchObject({ code: 'UNKNOWN_COMMAND' });
  });
});

test('folding counts versions and sees the end', () => {
  const events = [
    { type: 'Built', data: { colour: 'grey' } },
    { type: 'Painted', data: { colour: 'red' } },
  ];
  const painted = foldEvents(model, none, events);
  expect(painted).toEqual({ state: { colour: 'red' }, version: 2, closed: false });
  expect(foldEvents(model, painted, [])).toBe(painted);
  expect(foldEvents(model, painted, [{ type: 'Torn', data: {} }])).toMatchObject({ version: 3, closed: true });
  expect(refusal(() => foldEvents(model, none, [{ type: 'Sold', data: {} }])).code).toBe('UNKNOWN_EVENT');
});

function untangle() {
  return {
    name: 'free',
    events: { Went: z.object({}) },
    commands: { Go: z.object({}) },
    initial: () => 0,
    evolve: { Went: (s: number) => s },
    decide: { Go: () => [] },
  };
}
