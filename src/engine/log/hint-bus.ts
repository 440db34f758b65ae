import type { HintChannel, HintMessage, LogHintMessage, SwapHintMessage, ViewHintMessage } from '../../queue/hints.ts';
import type { ViewDocument } from '../../store/documents.ts';

export interface ViewHint extends ViewHintMessage {
  /** The same documents as written; only inside the process that wrote them, after the majority acknowledged. */
  readonly documents?: readonly ViewDocument[];
}
export type Hint = ViewHint | LogHintMessage | SwapHintMessage;

/** Hints of this process and, through a HintChannel, of the others. */
export interface HintBus {
  /** Delivers to listeners in this process at once and sends to other processes without waiting; never throws. */
  publish(hint: Hint): void;
  /** Returns how to stop listening. A listener must not throw. */
  listen(listener: (hint: Hint | HintMessage) => void): () => void;
}

/** Without a channel the bus serves this process alone. Whoever made the channel closes it. */
export function createHintBus(channel?: HintChannel): HintBus {
  const listeners = new Set<(hint: Hint | HintMessage) => void>();
  const deliver = (hint: Hint | HintMessage): void => {
    for (const listener of listeners) listener(hint);
  };
  channel?.listen(deliver);
  return {
    publish(hint) {
      deliver(hint);
      channel?.send(messageOf(hint));
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** Documents never leave the process by a hint. */
function messageOf(hint: Hint): HintMessage {
  if (hint.kind !== 'view') return hint;
  const { documents: _documents, ...message } = hint;
  return message;
}
