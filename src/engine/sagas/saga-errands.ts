import type { SagaInput } from '../../define/react.ts';
import type { QueuedCommandDocument } from '../../store/documents.ts';
import type { SagaStore } from '../../store/sagas.ts';
import type { Errand, ErrandDesk } from '../partitions/errand.ts';
import type { SagaHandler } from './saga-handler.ts';
import { dueTimer, refusalInput, timerOf } from './saga-input.ts';

/** What became of a timer or refusal that was brought to its instance. */
export type SagaErrandEnd =
  | 'handled'
  /** It is not there (any more): fired, cancelled, set anew, told. */
  | 'stale'
  /** The instance has a dead letter: it waits behind that. */
  | 'waits'
  /** The saga is paused. */
  | 'paused'
  /** The handler failed: a dead letter has it now. */
  | 'failed';

/** A timer that is due, by the instance's own word: its document says whether there is one, and for when. */
export function timerErrand(
  handler: SagaHandler,
  due: { readonly key: string; readonly name: string; readonly dueAt: Date; readonly lateMs?: number },
): Errand<SagaErrandEnd> {
  const { key, name, dueAt, lateMs } = due;
  const run = (desk: ErrandDesk): SagaErrandEnd => {
    const timer = timerOf(desk.document, name);
    if (desk.paused) return 'paused';
    if (timer === undefined || timer.dueAt.getTime() !== dueAt.getTime()) {
      if (timer === undefined) desk.side.remove('timers', handler.timerId(key, name));
      return 'stale';
    }
    if (desk.record !== undefined) {
      // It rings again when the instance flows.
      desk.side.remove('timers', handler.timerId(key, name));
      return 'waits';
    }
    const { correlationId } = timer.meta;
    const end = attempt(handler, desk, dueTimer(timer, lateMs), {
      input: 'timer',
      eventId: null,
      inputType: name,
      correlationId,
    });
    if (end === 'failed') desk.side.remove('timers', handler.timerId(key, name));
    return end;
  };
  return { of: { key }, dueAt: () => dueAt, run };
}

/** A command of this instance was refused. */
export function refusalErrand(
  handler: SagaHandler,
  store: Pick<SagaStore, 'refusal'>,
  of: { readonly sender: NonNullable<QueuedCommandDocument['sender']>; readonly commandId: string },
): Errand<SagaErrandEnd> {
  const { sender, commandId } = of;
  let command: QueuedCommandDocument | undefined;
  const load = async (): Promise<void> => {
    command = await store.refusal(sender, commandId);
  };
  const run = (desk: ErrandDesk): SagaErrandEnd => {
    if (command === undefined) return 'stale';
    if (desk.paused) return 'paused';
    if (desk.record !== undefined) return 'waits';
    const { type, meta } = command;
    const says = { input: 'refusal', eventId: commandId, inputType: type, correlationId: meta.correlationId } as const;
    const end = attempt(handler, desk, refusalInput(command), says);
    if (end !== 'failed') desk.side.set('queued_commands', command._id, { tell: undefined });
    return end;
  };
  return { of: { key: sender.key }, load, dueAt: () => command?.finishedAt, run };
}

/** Handles it, or makes a dead letter of it. */
function attempt(
  handler: SagaHandler,
  desk: ErrandDesk,
  input: SagaInput,
  says: {
    readonly input: 'timer' | 'refusal';
    readonly eventId: string | null;
    readonly inputType: string;
    readonly correlationId: string;
  },
): SagaErrandEnd {
  try {
    desk.refusePoison();
    const effect = handler.react(input, desk);
    if (effect !== undefined) desk.apply(effect, { position: desk.checkpoint, commandId: says.eventId ?? '' });
    return effect === undefined ? 'stale' : 'handled';
  } catch (error) {
    desk.fail({ ...says, position: desk.checkpoint, error });
    return 'failed';
  }
}
