import type { DecidedEvent } from '../../define/decide.ts';
import { MillraceError } from '../../errors.ts';
import type { CommitDocument } from '../../store/documents.ts';
import { roughBytes } from '../../store/rough-bytes.ts';
import { newId } from '../concurrency/new-id.ts';
import type { Arrived, CommandLimits } from './arrive-command.ts';

/** What a commit says of its command. */
type OfCommand = Pick<Arrived, 'stream' | 'commandId' | 'stored' | 'hash' | 'meta'> & {
  readonly command: { readonly type: string };
};

/** The commit of a decided command, as it is inserted. Throws COMMIT_TOO_LARGE. */
export function commitOf(
  limits: Pick<CommandLimits, 'maxEvents' | 'maxBytes'>,
  arrived: OfCommand,
  events: readonly DecidedEvent[],
  version: number | undefined,
): CommitDocument {
  if (events.length > limits.maxEvents) {
    throw new MillraceError(
      'COMMIT_TOO_LARGE',
      `Command "${arrived.command.type}" caused ${events.length} events; a commit holds at most ${limits.maxEvents}. Split the command.`,
    );
  }
  // Measured exactly only where the cap could be near: text has up to three bytes a character, and escapes.
  if (roughBytes(events) * 6 > limits.maxBytes) {
    const bytes = Buffer.byteLength(JSON.stringify(events));
    if (bytes > limits.maxBytes) {
      throw new MillraceError(
        'COMMIT_TOO_LARGE',
        `Command "${arrived.command.type}" caused ${bytes} bytes of events; a commit holds at most ${limits.maxBytes}. Split the command.`,
      );
    }
  }
  return {
    _id: newId(),
    stream: arrived.stream,
    ...(version === undefined ? {} : { version }),
    command: { id: arrived.commandId, type: arrived.command.type, data: arrived.stored, hash: arrived.hash },
    events: events.map((event) => ({
      id: newId(),
      type: event.type,
      schemaVersion: event.schemaVersion,
      data: event.data,
    })),
    meta: arrived.meta,
    at: new Date(),
  };
}
