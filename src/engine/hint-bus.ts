import type { HintMessage, LogHintMessage, ViewHintMessage } from '../queue/hints.ts';
import type { ViewDocument } from '../store/documents.ts';

export interface ViewHint extends ViewHintMessage {
  /** The same documents as written; only inside the process that wrote them, after the majority acknowledged. */
  readonly documents?: readonly ViewDocument[];
}
export type Hint = ViewHint | LogHintMessage;

/** Hints of this process and, through a HintChannel, of the others. */
export interface HintBus {
  /** Delivers to listeners in this process at once and sends to other processes without waiting; never throws. */
  publish(hint: Hint): void;
  /** Returns how to stop listening. A listener must not throw. */
  listen(listener: (hint: Hint | HintMessage) => void): () => void;
}
