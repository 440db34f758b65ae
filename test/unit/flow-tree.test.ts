import { expect, test } from 'vitest';
import { flowTree, type ShownStep } from '../../src/cli/flow-tree.ts';

const step = (id: string, parentId: string | null, more: Partial<ShownStep> = {}): ShownStep => ({
  id,
  parentId,
  kind: 'EVENT',
  name: 'Placed',
  subject: `order/${id}`,
  status: 'DONE',
  attempts: 1,
  startedAt: '2026-05-01T12:00:00.000Z',
  durationMs: null,
  error: null,
  event: null,
  ...more,
});

test('a flow for people: what caused what, when and how long, what failed', () => {
  const steps = [
    step('c', null, { kind: 'COMMAND', name: 'Place', subject: 'order/1' }),
    step('e', 'c', { startedAt: '2026-05-01T12:00:00.004Z', event: { position: '17' } }),
    step('p', 'e', { kind: 'PROJECTOR', name: 'orders', subject: '1', startedAt: null, durationMs: 1_234.4 }),
    step('o', 'e', {
      kind: 'OBSERVER',
      name: 'mail',
      subject: '1',
      status: 'DEAD',
      attempts: 5,
      startedAt: '2026-05-01T12:02:00.000Z',
      error: { code: 'HANDLER_FAILED', message: 'no \u001b[31m route\nat line 7' },
    }),
    step('d', 'o', { subject: 'x'.repeat(100) }),
  ];
  const text = flowTree({ correlationId: 'f1', settled: true, truncated: true, steps }, { colour: false });
  expect(text.split('\n')).toEqual([
    'Flow f1: settled, 5 steps, and more that are not shown',
    '',
    expect.stringMatching(/^command Place order\/1 +DONE +\+0 ms$/),
    expect.stringMatching(/^└─ event Placed order\/e +DONE +\+4 ms +#17$/),
    expect.stringMatching(/^ {3}├─ projector orders 1 +DONE +1\.2 s$/),
    expect.stringMatching(/^ {3}└─ observer mail 1 +DEAD +\+2\.0 min +5 attempts$/),
    '         HANDLER_FAILED: no  [31m route',
    expect.stringMatching(/^ {6}└─ event Placed x+… {2}DONE +\+0 ms$/),
    '',
  ]);
  const coloured = flowTree({ correlationId: 'f1', settled: false, truncated: false, steps }, { colour: true });
  expect(coloured).toContain('\u001b[31mDEAD     \u001b[0m');
  expect(coloured).toContain('Flow f1: under way, 5 steps\n');
});
