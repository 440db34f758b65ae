import type { Model, ProjectorModel } from '../../define/model.ts';
import { MillraceError } from '../../errors.ts';
import type { ViewDocument } from '../../store/documents.ts';
import type { EventPages } from '../../store/event-pages.ts';
import type { PastBasis } from '../../store/view-past.ts';
import { shareByKey } from '../concurrency/coalesce.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import { type PastStep, stepsOf } from './document-steps.ts';
import type { ViewHandle } from './view-handles.ts';
import type { ViewProgress } from './view-progress.ts';

export interface LiveViewDeps {
  readonly model: Model;
  readonly pages: Pick<EventPages, 'end' | 'scan'>;
  readonly decode: DecodeOnce;
  /** Events that one fold looks at. */
  readonly maxEvents: number;
}

/** Of the log and the code alone: what operators did to a generation that was stored once does not count. */
export const LIVE_BASIS: PastBasis = { after: 0, wasReset: false, skipped: new Set() };

/** Views that are not stored, by name: a document is folded from the log by each read of it. */
export function createLiveViews(deps: LiveViewDeps): ReadonlyMap<string, ViewHandle> {
  return new Map(Array.from(deps.model.liveProjectorOf, ([view, consumer]) => [view, liveHandle(deps, consumer)]));
}

function liveHandle(deps: LiveViewDeps, consumer: ProjectorModel): ViewHandle {
  const view = consumer.projector.into;
  const refuse = (): never => {
    throw notStored(consumer);
  };
  const shareEnd = shareByKey<number>();
  const share = shareByKey<ViewDocument | undefined>();
  const fold = async (id: string): Promise<ViewDocument | undefined> => {
    // A place in the log first: two streams that were read at two times would be folded to what never was.
    const end = await shareEnd('', deps.pages.end);
    let last: PastStep | undefined;
    for await (const step of stepsOf({
      ...deps,
      consumer,
      projector: consumer.projector,
      basis: LIVE_BASIS,
      key: id,
      end,
      signal: undefined,
    })) {
      last = step;
    }
    return last && documentOf(id, last);
  };
  return {
    view,
    build: { view: view.name, generation: consumer.generation },
    progress: liveProgress(deps, consumer),
    isOwn: true,
    isStored: false,
    read: (id) => share(id, () => fold(id)),
    plan: refuse,
    readSlice: async () => refuse(),
    count: async () => refuse(),
    readChanges: async () => refuse(),
  };
}

/** As a stored view would hold it. */
function documentOf(id: string, { event, after, count }: PastStep): ViewDocument {
  const marks = {
    _id: id,
    _partition: 0,
    _revision: count,
    _position: event.position,
    _version: count,
    _origins: [],
  };
  return after === undefined ? { ...marks, _deleted: event.at } : { ...after, ...marks };
}

/** What is in the log is in the view: `atLeast` waits for the log alone. */
function liveProgress({ pages }: LiveViewDeps, consumer: ProjectorModel): ViewProgress {
  return {
    consumer,
    exact: true,
    checkpoint: () => Number.POSITIVE_INFINITY,
    hasBlocked: () => false,
    isParked: async () => false,
    partitionCount: async () => 1,
    builtAt: async () => undefined,
    note: () => undefined,
    async refresh() {
      await pages.end();
      return [];
    },
    onChange: () => () => undefined,
  };
}

export function notStored({ name, projector }: ProjectorModel): MillraceError {
  const view = projector.into.name;
  return new MillraceError(
    'VIEW_NOT_STORED',
    `View "${view}" is not stored: projector "${name}" has mode 'live', so there is nothing to list, count or watch. Read its documents by id, or set mode 'async' or 'inline'.`,
    { details: { view } },
  );
}
