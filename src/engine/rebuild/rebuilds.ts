import { setTimeout as pause } from 'node:timers/promises';
import type { Model } from '../../define/model.ts';
import { MillraceError } from '../../errors.ts';
import type { DeliveryStore } from '../../store/delivery-store.ts';
import { consumerId, type GenerationRef } from '../../store/partitions.ts';
import type { BuildPage } from '../../store/rebuild-pages.ts';
import { viewCollectionName } from '../../store/view-documents.ts';
import { auditEntry } from '../audit/audit-entry.ts';
import { checkCall } from '../audit/operator-input.ts';
import { written } from '../audit/written.ts';
import type { OperatorCall } from '../contract/operators.ts';
import type { Rebuild, Rebuilds } from '../contract/rebuild.ts';
import type { HintBus } from '../log/hint-bus.ts';
import { aborted } from '../operators/consumer-controls.ts';
import { decodeRecordCursor, encodeRecordCursor } from '../views/cursor.ts';
import { emptyTally, tallyPage } from './rebuild-diff.ts';
import { type RebuildFound, rebuildStates } from './rebuild-states.ts';
import { swapIn } from './rebuild-swap.ts';

const DIFF_PAGE_COUNT = 1_000;
/** A request ends within seconds, whatever the size of the view. */
const DIFF_PART_MS = 2_000;
/** While events come, all partitions pass a position within a second or two. */
const LEVEL_MAX_MS = 8_000;
const LEVEL_LOOK_MS = 100;

/** Rebuilds as operators see and control them, also those of versions that this process's code does not have. */
export function createRebuilds(deps: {
  readonly model: Model;
  readonly store: DeliveryStore;
  readonly hints: Pick<HintBus, 'publish'>;
}): Rebuilds {
  const { store, model, hints } = deps;
  const { logId, operators } = store;
  const { consumers } = operators;
  const states = rebuildStates({ store, model });

  const all = (): Promise<readonly RebuildFound[]> => states.list();
  const find = async (projector: string): Promise<RebuildFound> => {
    const found = (await all()).filter((one) => one.rebuild.projector === projector);
    const newest = found.at(-1);
    if (newest !== undefined) return newest;
    throw new MillraceError(
      'UNKNOWN_REBUILD',
      `There is no rebuild of "${String(projector).slice(0, 100)}". Raise the projector's \`version\` and start a worker with that code: it builds the new version beside the one that is read.`,
    );
  };
  /** One that is not swapped in yet. */
  const underWay = async (projector: string): Promise<RebuildFound> => {
    const found = await find(projector);
    if (found.rebuild.state !== 'SWAPPED') return found;
    throw new MillraceError(
      'UNKNOWN_REBUILD',
      `The rebuild of "${projector}" is over: generation ${found.rebuild.to} is read since ${found.rebuild.swappedAt?.toISOString() ?? 'the swap'}.`,
    );
  };
  const shown = async (projector: string): Promise<Rebuild> => (await find(projector)).rebuild;
  const entry = (action: string, { consumer, generation }: GenerationRef, call: OperatorCall, before: unknown) =>
    auditEntry(logId, call, { action, target: `${consumer}/${generation}`, before, after: null });

  return {
    rebuilds: async () => (await all()).map(({ rebuild }) => rebuild),
    async rebuildDiff(projector, after) {
      const { rebuild, ref, older } = await find(projector);
      const { view } = rebuild;
      const [one, other] = [
        { ...older, view },
        { ...ref, view },
      ];
      const kind = `diff ${projector} ${older.generation} ${ref.generation}`;
      let place = after == null ? null : String(decodeRecordCursor(after, logId, kind, ['string'])[0]);
      const tally = emptyTally();
      let positions = { oldPosition: 0, newPosition: 0 };
      const untilMs = Date.now() + DIFF_PART_MS;
      do {
        const page = await operators.rebuilds.page(one, other, place, DIFF_PAGE_COUNT);
        tallyPage(tally, page);
        positions = { oldPosition: slowest(page.older), newPosition: slowest(page.newer) };
        place = page.last;
      } while (place !== null && Date.now() < untilMs);
      const estimates = await Promise.all([one, other].map((build) => operators.rebuilds.estimate(build)));
      return {
        projector,
        from: older.generation,
        to: ref.generation,
        logEnd: await store.log.end(),
        ...positions,
        ...tally,
        next: place === null ? null : encodeRecordCursor(logId, kind, [place]),
        totalCount: Math.max(...estimates),
      };
    },
    async swapRebuild(projector, given) {
      const call = checkCall(given);
      const { ref, rebuild, document } = await underWay(projector);
      const building = { ...ref, view: rebuild.view, partitionCount: document.partitionCount };
      const goal = await store.log.end();
      for (const untilMs = Date.now() + LEVEL_MAX_MS; ; await pause(LEVEL_LOOK_MS)) {
        const readings = await store.partitions.read([ref]);
        const level = readings.length > 0 && readings.every(({ checkpoint }) => checkpoint >= goal);
        if (level && (await swapIn({ store, hints }, building, goal, call))) return shown(projector);
        const now = await find(projector);
        if (now.rebuild.state === 'SWAPPED') return now.rebuild;
        if (now.obstacles.length > 0 || Date.now() >= untilMs) throw notLevel(now);
      }
    },
    async pauseRebuild(projector, given) {
      const call = checkCall(given);
      const { ref, document } = await underWay(projector);
      if (document.aborted !== undefined) throw aborted(projector, document);
      const audit = entry('rebuild.pause', ref, call, { state: 'BUILDING' });
      const paused = { since: new Date(), ...call };
      const pausing = () => consumers.pause(ref, paused, audit, { onlyBuilding: true });
      const end = await written(pausing, { refusedIsFine: true });
      // Refused: it was paused before, or swapped in at the same moment.
      if (end === 'refused') await underWay(projector);
      await consumers.mark(ref);
      return shown(projector);
    },
    async resumeRebuild(projector, given) {
      const call = checkCall(given);
      const { ref, document } = await underWay(projector);
      if (document.aborted !== undefined) throw aborted(projector, document);
      const audit = entry('rebuild.resume', ref, call, { paused: document.paused ?? null });
      await written(() => consumers.resume(ref, audit), { refusedIsFine: true });
      await consumers.mark(ref);
      return shown(projector);
    },
    async abortRebuild(projector, given) {
      const call = checkCall(given);
      const { ref, rebuild } = await underWay(projector);
      const audit = entry('rebuild.abort', ref, call, { position: rebuild.position, logEnd: rebuild.logEnd });
      await written(() => consumers.abort(ref, { since: new Date(), ...call }, audit), { refusedIsFine: true });
      const document = await consumers.mark(ref);
      // Swapped in at the same moment.
      if (document?.aborted === undefined) return (await underWay(projector)).rebuild;
      if (document.resetting === undefined) return shown(projector);
      const position = document.startPosition ?? 0;
      const documents = {
        collection: viewCollectionName({ view: rebuild.view, generation: ref.generation }),
        how: 'remove',
      } as const;
      const of = { position, documents, deadLetters: 'all', againAfter: position } as const;
      // Nobody reads it: what it holds goes without a trace.
      for (let partition = 0; partition < document.partitionCount; partition++) {
        await consumers.resetPartition({ ...of, ref: { ...ref, partition } });
      }
      await consumers.endReset(ref, undefined);
      return shown(projector);
    },
    async startRebuild(projector, given) {
      const call = checkCall(given);
      const { ref, rebuild } = await underWay(projector);
      const audit = entry('rebuild.start', ref, call, { state: rebuild.state });
      const begun = await written(() => consumers.restart(ref, new Date(), audit), { refusedIsFine: true });
      if (begun === 'refused') throw runs(await shown(projector), (await consumers.find(ref))?.resetting !== undefined);
      states.forget(consumerId(logId, ref));
      await consumers.mark(ref);
      return shown(projector);
    },
  };
}

const slowest = ({ checkpoints }: BuildPage): number => (checkpoints.length === 0 ? 0 : Math.min(...checkpoints));

function notLevel({ rebuild, obstacles }: RebuildFound): MillraceError {
  const { projector, to, waitsFor, position, logEnd } = rebuild;
  const why = obstacles.length > 0 ? obstacles.join('; ') : `it has handled the log up to ${position} of ${logEnd}`;
  return new MillraceError('REBUILD_NOT_LEVEL', `"${projector}" (generation ${to}) cannot be swapped in: ${why}.`, {
    details: { position: String(position), logEnd: String(logEnd), waitsFor },
  });
}

function runs({ projector, to, state, percent }: Rebuild, isRemoving: boolean): MillraceError {
  const what =
    state === 'PAUSED'
      ? `is paused: resume it with \`millrace rebuild resume ${projector} --reason …\``
      : isRemoving
        ? 'is being aborted: what it had built is still removed. Abort it again if nobody is at it'
        : `runs already (${percent} %)`;
  return new MillraceError('REBUILD_RUNNING', `The rebuild of "${projector}" to generation ${to} ${what}.`);
}
