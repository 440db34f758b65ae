import type { DeadLetterDocument } from '../../store/documents.ts';
import type { Errand, ErrandDesk } from '../partitions/errand.ts';
import { inputOf, type RetryEnd, tryReleased } from '../partitions/retry-errand.ts';

/** What an operator's errand found and made of it; `after` undefined: the key flows. */
export type OperatorEnd =
  | { readonly kind: 'gone' }
  | {
      readonly kind: 'done';
      readonly before: DeadLetterDocument;
      readonly after: DeadLetterDocument | undefined;
      /** What became of the first try, where it was made at once. */
      readonly tried?: RetryEnd;
    };

/** Tries begin anew, the first one now by a job of its own, whatever state it is in. The job gets another delivery number. */
export function releaseErrand(deadLetter: string): Errand<OperatorEnd> {
  const run = (desk: ErrandDesk): OperatorEnd => {
    const before = desk.record;
    if (before === undefined) return { kind: 'gone' };
    const after: DeadLetterDocument = { ...before, ...anew(before) };
    desk.block(after);
    return { kind: 'done', before, after };
  };
  return { of: { deadLetter }, run };
}

/** The same with the first try in the same transaction: those that it heals need no job. For handlers that are pure. */
export function retryNowErrand(logId: string, deadLetter: string): Errand<OperatorEnd> {
  const release = releaseErrand(deadLetter);
  const run = (desk: ErrandDesk): OperatorEnd => {
    const released = release.run(desk);
    if (released.kind === 'gone') return released;
    const tried = tryReleased(logId, desk);
    return { ...released, after: desk.record, tried };
  };
  return { ...release, waiting: true, run };
}

/** The failing input is left out for good. The first parked event takes its place, to be tried now; with none the key flows. */
export function skipErrand(deadLetter: string): Errand<OperatorEnd> {
  const run = (desk: ErrandDesk): OperatorEnd => {
    const before = desk.record;
    if (before === undefined) return { kind: 'gone' };
    if (before.input !== 'event') desk.skipInput();
    const next = desk.waiting[before.input === 'event' ? 1 : 0];
    if (next === undefined) {
      desk.unblock();
      return { kind: 'done', before, after: undefined };
    }
    desk.unpark([next.position]);
    const after = { ...before, ...anew(before), ...inputOf(next), parkedCount: before.parkedCount - 1 };
    desk.block(after);
    return { kind: 'done', before, after };
  };
  return { of: { deadLetter }, waiting: true, run };
}

const anew = ({ delivery }: DeadLetterDocument) =>
  ({ state: 'RETRYING', attempts: 0, delivery: delivery + 1, nextAttemptAt: new Date() }) as const;
