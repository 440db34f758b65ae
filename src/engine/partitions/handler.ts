import type { AnyRecorded } from '../../define/event.ts';
import type { ConsumerModel, ObserverModel, ProjectorModel, SagaModel } from '../../define/model.ts';
import { type DocumentFields, projectDocument } from '../../define/project.ts';
import { writeDocuments } from '../../define/write-documents.ts';
import { MillraceError } from '../../errors.ts';
import type { DeadLetterDocument } from '../../store/documents.ts';
import type { SideWrites } from '../../store/side-writes.ts';
import type { ViewBuild } from '../../store/view-documents.ts';
import type { DocumentState } from './document-cache.ts';
import type { Errand, ErrandDesk } from './errand.ts';

/** What an input does to one key; undefined: nothing. */
export interface Effect {
  /** The key's document afterwards; `null` removes it, `undefined` leaves it as it is. */
  readonly next?: Readonly<Record<string, unknown>> | null | undefined;
  /** Documents afterwards, where the handler may write any; `null` removes. Each is in memory. */
  readonly documents?: ReadonlyMap<string, DocumentFields | null> | undefined;
  /** Written in the same transaction. */
  readonly side?: SideWrites | undefined;
  /** Where there is a route: keys that lead to this document from now on. */
  readonly leads?: readonly string[] | undefined;
}

/** What a handler may look at besides the event. */
export interface HandlerInput {
  readonly key: string;
  /** The key's document, with everything that came before. */
  readonly state: DocumentState;
  readonly partition: number;
  /** Other documents of the partition, as far as they are in memory. */
  readonly read?: (id: string) => DocumentState | undefined;
  /** Where there is a route: keys of the event that lead here. Undefined when it is tried again. */
  readonly keys?: readonly string[] | undefined;
}

/**
 * How one kind of consumer handles an event for one key. Pure and synchronous: it runs before the transaction opens, and again
 * when that is lost. What it throws blocks the key.
 */
export interface Handler {
  /** Where its documents lie; undefined: it has none. */
  readonly build: ViewBuild | undefined;
  handle(event: AnyRecorded, input: HandlerInput): Effect | undefined;
  /** How to try again, or leave out, an input that is no event (`record.input`): timers and refusals of sagas. */
  retryInput?(record: DeadLetterDocument): OtherInput;
  /** The key flows again: what is to be written with that. */
  released?(desk: ErrandDesk): void;
  /** It writes other documents than the key's: errands of two keys may concern the same one. */
  readonly writesAny?: boolean;
  /** Set where the keys of an event are not those of documents (sagas with several correlation keys). */
  readonly route?: KeyRoute | undefined;
}

/** An input that is no event and that failed. */
export interface OtherInput extends Pick<Errand<void>, 'load' | 'run'> {
  /** It is given up for good. */
  readonly skip: (desk: ErrandDesk) => void;
}

/** Which documents the correlation keys of an event lead to. */
export interface KeyRoute {
  /** Where keys lead, as the database has it; those that lead nowhere are left out. */
  read(keys: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** The documents that an event with these keys belongs to, and which of its keys lead there from now on. */
  targets(
    keys: readonly string[],
    leadsTo: (key: string) => string | undefined,
  ): readonly { readonly id: string; readonly keys: readonly string[] }[];
  /** Notes that keys lead to a document; to one that has ended: until when it is kept. */
  note(keys: readonly string[], id: string, partition: number, expiresAt?: Date): SideWrites;
}

export function projectorHandler({ projector, generation }: ProjectorModel): Handler {
  const build = { view: projector.into.name, generation };
  if (projector.write !== undefined) {
    return {
      build,
      writesAny: true,
      handle(event, { read }) {
        const documents = writeDocuments(projector, event, (id) => {
          const state = read?.(id);
          return state && (state.author ?? null);
        });
        return documents.size === 0 ? undefined : { documents };
      },
    };
  }
  return {
    build,
    handle(event, { key, state }) {
      const next = projectDocument(projector, state.author, event, key);
      return next === undefined || (next === null && state.author === undefined) ? undefined : { next };
    },
  };
}

/** For errands only: an observer's handlers are not pure, and its runner calls them. */
export function observerHandler({ name }: ObserverModel): Handler {
  return {
    build: undefined,
    handle() {
      throw new MillraceError('INTERNAL', `The handler of observer "${name}" was called as if it were pure.`);
    },
  };
}

/** Undefined for kinds that have a runner of their own. */
export function handlerOf(consumer: ConsumerModel, sagaHandler?: (saga: SagaModel) => Handler): Handler | undefined {
  if (consumer.kind === 'saga') return sagaHandler?.(consumer);
  return consumer.kind === 'projector' ? projectorHandler(consumer) : undefined;
}
