import type { AnyRecorded } from '../../define/event.ts';
import type { Model, ProjectorModel } from '../../define/model.ts';
import { projectDocument } from '../../define/project.ts';
import type { Projector } from '../../define/projector.ts';
import { DEFAULT_TENANT, streamKey } from '../../define/stream-key.ts';
import { MillraceError } from '../../errors.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { EventPages, LogPart } from '../../store/event-pages.ts';
import type { PastBasis } from '../../store/view-past.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import { routeEvent } from '../log/route-event.ts';

export type PastDocument = Readonly<Record<string, unknown>>;

/** An event that changed a document. */
export interface PastStep {
  readonly event: AnyRecorded;
  readonly before: PastDocument | undefined;
  /** Undefined: it was removed. */
  readonly after: PastDocument | undefined;
  /** So many steps up to this one. */
  readonly count: number;
  /** The document was removed by an earlier step. */
  readonly isAfterRemoval: boolean;
}

export interface StepsInput {
  readonly model: Model;
  readonly consumer: ProjectorModel;
  /** The author's, without interceptors: nothing is handled here. */
  readonly projector: Projector;
  readonly decode: DecodeOnce;
  readonly pages: Pick<EventPages, 'scan'>;
  readonly basis: PastBasis;
  readonly key: string;
  /** Up to this position. */
  readonly end: number;
  readonly maxEvents: number;
  readonly signal: AbortSignal | undefined;
}

/** Thrown where the projector fails today: the steps end before this event. */
export class StepFailed extends MillraceError {}

/** Events read at once, of each stream. */
const READ_COUNT = 250;

/** Folds a document through the events that concern it, in order of position, as delivery does. */
export async function* stepsOf(input: StepsInput): AsyncGenerator<PastStep, void, undefined> {
  const { model, consumer, projector, decode, basis, key, maxEvents, signal } = input;
  let state: PastDocument | undefined;
  let count = 0;
  let isAfterRemoval = false;
  let seenCount = 0;
  for await (const document of eventsOf(input)) {
    if (signal?.aborted === true) throw signal.reason;
    if (++seenCount > maxEvents) throw tooLong(input, document._id);
    if (basis.skipped.has(document._id)) continue;
    const route = routeEvent(model, consumer, 1, decode, document);
    if (route.kind === 'stuck') throw route.error;
    if (route.kind === 'skip' || !route.targets.some((target) => target.key === key)) continue;
    const { event } = route;
    const next = project(projector, state, event, key);
    if (next === undefined || (next === null && state === undefined)) continue;
    const before = state;
    state = next ?? undefined;
    yield { event, before, after: state, count: ++count, isAfterRemoval };
    isAfterRemoval ||= state === undefined;
  }
}

function project(projector: Projector, state: PastDocument | undefined, event: AnyRecorded, key: string) {
  try {
    return projectDocument(projector, state, event, key);
  } catch (cause) {
    // Nothing runs a live projector, so it has no dead letters.
    const cure = projector.mode === 'live' ? 'Mend it.' : "Mend it, or skip the event's dead letter.";
    throw new StepFailed(
      'VIEW_BEHIND',
      `The document is known up to the event at position ${event.position}: projector "${projector.name}" fails at that. ${cure}`,
      { cause, details: { reason: 'PARKED', retryAfterMs: 1_000, position: String(event.position) } },
    );
  }
}

function tooLong({ projector, maxEvents }: StepsInput, position: number): MillraceError {
  const read = projector.routesById
    ? 'the events of its streams'
    : `all events of the types that projector "${projector.name}" handles, since it has a \`key\``;
  return new MillraceError(
    'HISTORY_TOO_LONG',
    `The past of this document is folded from ${read}, and there are more than ${maxEvents} of them up to there. Ask for what was before position ${position}, or raise HISTORY_MAX_EVENTS.`,
    { details: { maximum: maxEvents, position: String(position) } },
  );
}

/** Events that may concern the document: by its streams, where its id names them, else by their types. */
function partsOf({ consumer, key }: StepsInput): readonly LogPart[] {
  if (!consumer.routesById) return [{ by: 'type', types: [...consumer.handles] }];
  return [...consumer.sources].map((aggregate) => {
    const stream = streamKey({ tenant: DEFAULT_TENANT, aggregate, id: key });
    return { by: 'stream', stream } as const;
  });
}

interface Reading {
  readonly part: LogPart;
  after: number;
  found: readonly LogDocument[];
  /** Of the next one in `found`. */
  next: number;
  isOver: boolean;
}

/** The events of all parts in one order of position. */
async function* eventsOf(input: StepsInput): AsyncGenerator<LogDocument, void, undefined> {
  const { pages, basis, end } = input;
  const fill = async (reading: Reading): Promise<void> => {
    if (reading.isOver || reading.next < reading.found.length) return;
    const { part, after } = reading;
    // In a stream a few events too many are cheaper than the look-up of where the end is.
    const before = part.by === 'stream' ? Number.POSITIVE_INFINITY : end + 1;
    reading.found = await pages.scan({ part, after, before, backward: false, limit: READ_COUNT });
    reading.next = 0;
    reading.isOver = reading.found.length < READ_COUNT;
    reading.after = reading.found.at(-1)?._id ?? after;
  };
  const readings = partsOf(input).map((part): Reading => {
    return { part, after: basis.after, found: [], next: 0, isOver: false };
  });
  for (;;) {
    await Promise.all(readings.map(fill));
    let first: Reading | undefined;
    for (const reading of readings) {
      const own = reading.found[reading.next];
      const best = first?.found[first.next];
      if (own !== undefined && (best === undefined || own._id < best._id)) first = reading;
    }
    const document = first?.found[first.next];
    if (first === undefined || document === undefined || document._id > end) return;
    first.next++;
    yield document;
  }
}
