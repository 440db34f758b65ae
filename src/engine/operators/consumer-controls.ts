import type { ConsumerModel, Model } from '../../define/model.ts';
import type { StartFrom } from '../../define/start-from.ts';
import { MillraceError } from '../../errors.ts';
import type { Reset } from '../../store/consumer-controls.ts';
import type { AuditDocument, ConsumerDocument } from '../../store/documents.ts';
import type { InstanceStore } from '../../store/instances.ts';
import type { LeaseStore } from '../../store/leases.ts';
import type { OperatorStore } from '../../store/operator-store.ts';
import { consumerId, type GenerationRef, type PartitionReading, type PartitionStore } from '../../store/partitions.ts';
import { viewCollectionName } from '../../store/view-documents.ts';
import { auditEntry } from '../audit/audit-entry.ts';
import { checkCall } from '../audit/operator-input.ts';
import { written } from '../audit/written.ts';
import { oneAtATime } from '../concurrency/one-at-a-time.ts';
import type { OperatorCall, Operators, ResetOptions, ResetPreview } from '../contract/operators.ts';
import type { HintBus } from '../log/hint-bus.ts';
import { isLiving } from '../processes/membership.ts';
import { checkStart, effectsOf, planReset, type ResetPlan } from './reset-plan.ts';

export type ConsumerControls = Pick<
  Operators,
  'pauseConsumer' | 'resumeConsumer' | 'previewReset' | 'resetConsumer' | 'retireConsumer'
>;

export interface ConsumerControlDeps {
  readonly logId: string;
  readonly model: Model;
  readonly store: OperatorStore;
  readonly partitions: Pick<PartitionStore, 'read'>;
  readonly instances: Pick<InstanceStore, 'list'>;
  readonly leases: Pick<LeaseStore, 'acquire' | 'release'>;
  readonly end: () => Promise<number>;
  readonly hints: Pick<HintBus, 'publish'>;
}

/** A consumer that was written so lately is run by somebody, whether it says so or not. */
const IN_USE_MS = 10_000;

/** Pause, resume, reset, retire. Each is written to the audit together with what it changes. */
export function createConsumerControls(deps: ConsumerControlDeps): ConsumerControls {
  const { store, model } = deps;
  const consumers = store.consumers;

  const lookUp = async (name: string) => {
    const consumer = model.consumers.find((one) => one.name === name);
    if (consumer === undefined) throw unknownConsumer(name, model);
    const ref = { consumer: consumer.name, generation: consumer.generation };
    const document = await consumers.find(ref);
    if (document === undefined) {
      throw new MillraceError(
        'UNKNOWN_CONSUMER',
        `Consumer "${name}" (generation ${consumer.generation}) was never started. Start a worker with this code, it creates it.`,
      );
    }
    return { consumer, ref, document };
  };
  const plan = async (name: string, to: StartFrom, options: ResetOptions = {}) => {
    checkStart(to);
    const found = await lookUp(name);
    const [position, logEnd, readings] = await Promise.all([
      consumers.positionOf(to),
      deps.end(),
      deps.partitions.read([found.ref]),
    ]);
    const unfinished = found.document.resetting;
    const planned = planReset({ ...found, position, logEnd, checkpoints: readings, options, unfinished });
    return { ...found, readings, planned, preview: await previewOf(store, found.ref, planned) };
  };

  return {
    async pauseConsumer(name, given) {
      const call = checkCall(given);
      const { ref } = await lookUp(name);
      const paused = { since: new Date(), ...call };
      const audit = auditOf(deps, 'consumer.pause', ref, call, { state: 'RUNNING' }, { state: 'PAUSED' });
      await written(() => consumers.pause(ref, paused, audit), { refusedIsFine: true });
      // Also when it was paused before: whoever did may have died in between.
      await consumers.mark(ref);
    },
    async resumeConsumer(name, given) {
      const call = checkCall(given);
      const { ref, document } = await lookUp(name);
      if (document.aborted !== undefined) throw aborted(name, document);
      if (document.resetting !== undefined) throw unfinished(name, document.resetting);
      const before = { state: 'PAUSED', paused: document.paused ?? null };
      const audit = auditOf(deps, 'consumer.resume', ref, call, before, { state: 'RUNNING' });
      await written(() => consumers.resume(ref, audit), { refusedIsFine: true });
      const now = await consumers.mark(ref);
      if (now?.resetting !== undefined) throw unfinished(name, now.resetting);
    },
    async previewReset(name, to, options) {
      const { preview } = await plan(name, to, options);
      return preview;
    },
    async resetConsumer(name, to, given, options) {
      const call = checkCall(given);
      const found = await plan(name, to, options);
      refuseReset(name, found.document);
      await reset(deps, found, call);
      return found.preview;
    },
    async retireConsumer(name, generation, given) {
      const call = checkCall(given);
      const ref = { consumer: name, generation };
      const id = consumerId(deps.logId, ref);
      const who = `Consumer "${name}" (generation ${generation}) is being retired by somebody else.`;
      // Whoever is slower would remove what is built anew after the other is done.
      await oneAtATime(deps.leases, { id: `${id}/retire`, who }, () => retire(deps, ref, call));
    },
  };
}

async function retire(deps: ConsumerControlDeps, ref: GenerationRef, call: OperatorCall): Promise<void> {
  const { consumers, views } = deps.store;
  const document = await consumers.find(ref);
  const isGone = document?.retiredAt !== undefined && document.removing === undefined;
  if (document === undefined || isGone) throw unknownConsumer(ref.consumer, deps.model, ref.generation);
  const collections = collectionsOf(ref, document, await consumers.list());
  // Else whoever retired it died in between; nobody runs it until all is removed.
  if (document.retiredAt === undefined) {
    await refuseInUse(deps, ref);
    const after = { state: 'RETIRED', removed: collections };
    const audit = auditOf(deps, 'consumer.retire', ref, call, document, after);
    await written(() => consumers.retire(ref, new Date(), audit), { refusedIsFine: true });
  }
  if (document.view !== undefined) await views.forget(document.view, ref);
  await consumers.removeAll(ref, collections);
}

async function previewOf(store: OperatorStore, ref: GenerationRef, planned: ResetPlan): Promise<ResetPreview> {
  const { position, logEnd, documents, deadLetters, skippedCount } = planned;
  const [documentCount, deadLetterCount] = await Promise.all([
    documents === undefined ? 0 : store.consumers.countDocuments(documents.collection),
    deadLetters === 'none' ? 0 : store.consumers.countDeadLetters(ref, deadLetters === 'all' ? -1 : position),
  ]);
  const eventCount = logEnd - position;
  const counts = { position, logEnd, eventCount, skippedCount, documentCount, deadLetterCount };
  return { ...counts, effects: effectsOf(planned, counts) };
}

interface PlannedReset {
  readonly consumer: ConsumerModel;
  readonly ref: GenerationRef;
  readonly document: ConsumerDocument;
  readonly readings: readonly PartitionReading[];
  readonly planned: ResetPlan;
  readonly preview: ResetPreview;
}

/** Repeatable: who is killed in the middle leaves it paused and marked, and whoever repeats it goes on. */
async function reset(deps: ConsumerControlDeps, found: PlannedReset, call: OperatorCall): Promise<void> {
  const { ref, planned, preview, readings, consumer } = found;
  const consumers = deps.store.consumers;
  const { document } = found;
  // A second try must not take what the first one set back for what was handled.
  const handled = [planned.replayUntil, document.resetting?.replayUntil, document.replayUntil];
  const replayUntil = Math.max(...handled.map((position) => position ?? 0));
  const resetting: Reset = {
    since: new Date(),
    position: planned.position,
    dropInstances: planned.dropInstances,
    repeatEffects: planned.repeatEffects,
    ...(replayUntil > 0 && !planned.repeatEffects && { replayUntil }),
  };
  const before = {
    position: Math.min(...readings.map(({ checkpoint }) => checkpoint)),
    paused: document.paused ?? null,
  };
  const audit = auditOf(deps, 'consumer.reset', ref, call, before, preview);
  const begun = await written(() => consumers.beginReset(ref, resetting, audit), { refusedIsFine: true });
  const now = await consumers.mark(ref);
  if (begun === 'refused') throw now?.aborted === undefined ? running(ref.consumer) : aborted(ref.consumer, now);
  const againAfter = Math.max(planned.position, resetting.replayUntil ?? 0);
  for (const { partition } of readings) {
    const done = await consumers.resetPartition({ ref: { ...ref, partition }, ...planned, againAfter });
    if (consumer.kind !== 'projector') continue;
    const build = { view: consumer.projector.into.name, generation: ref.generation };
    deps.hints.publish({ kind: 'view', ...build, ...done, ids: [] });
  }
  if (planned.dropInstances) await consumers.removeOfInstances(ref);
  await consumers.endReset(ref, resetting.replayUntil);
}

function auditOf(
  { logId }: ConsumerControlDeps,
  action: string,
  { consumer, generation }: GenerationRef,
  call: OperatorCall,
  before: unknown,
  after: unknown,
): AuditDocument {
  return auditEntry(logId, call, { action, target: `${consumer}/${generation}`, before, after });
}

function collectionsOf(
  { consumer, generation }: GenerationRef,
  { kind, view }: ConsumerDocument,
  all: readonly ConsumerDocument[],
): readonly string[] {
  if (kind === 'saga') return [viewCollectionName({ view: consumer, generation, kind: 'saga' })];
  // A projector that got another name may have been let into the same one, by code that did not refuse that.
  const isShared = all.some((one) => one.consumer !== consumer && one.view === view && one.generation === generation);
  return view === undefined || isShared ? [] : [viewCollectionName({ view, generation })];
}

function refuseReset(name: string, document: ConsumerDocument): void {
  if (document.aborted !== undefined) throw aborted(name, document);
  if (document.paused === undefined) throw running(name);
}
const running = (name: string): MillraceError =>
  new MillraceError('CONSUMER_RUNNING', `Consumer "${name}" runs. Pause it first, and resume it after the reset.`);

async function refuseInUse(deps: ConsumerControlDeps, ref: GenerationRef): Promise<void> {
  const { logId, model, store, instances } = deps;
  const { consumer: name, generation } = ref;
  if (model.consumers.some((one) => one.name === name && one.generation === generation)) {
    throw new MillraceError(
      'CONSUMER_RUNNING',
      `Consumer "${name}" (generation ${generation}) is in the modules of this process. Remove it from the code, or give it a new version, and deploy that first.`,
    );
  }
  const id = consumerId(logId, ref);
  const living = (await instances.list()).filter(isLiving);
  const runner = living.find(({ consumers }) => consumers?.includes(id));
  if (runner !== undefined) {
    throw new MillraceError(
      'CONSUMER_RUNNING',
      `Consumer "${name}" (generation ${generation}) is run by process ${runner.pid} on ${runner.host}, which has older code. Stop that first.`,
    );
  }
  const reader = living.find(({ serves }) => serves?.includes(id));
  if (reader !== undefined) {
    throw new MillraceError(
      'CONSUMER_RUNNING',
      `Generation ${generation} of "${name}" is read by process ${reader.pid} on ${reader.host}. Wait until reads have gone over (\`millrace rebuild list\`), or stop that process if its code is older.`,
    );
  }
  const idleMs = await store.consumers.idleMs(ref);
  if (idleMs === undefined || idleMs >= IN_USE_MS) return;
  throw new MillraceError(
    'CONSUMER_RUNNING',
    `Consumer "${name}" (generation ${generation}) was written ${Math.round(idleMs / 1_000)} s ago: a process with older code still runs it. Stop that, and try again ${IN_USE_MS / 1_000} s later.`,
  );
}

/** An aborted rebuild has nothing: it is built anew, or not at all. */
export const aborted = (name: string, { generation, aborted: how }: ConsumerDocument): MillraceError =>
  new MillraceError(
    'REBUILD_ABORTED',
    `The rebuild of "${name}" (generation ${generation}) was aborted${how === undefined ? '' : ` (${how.reason})`}. Build it anew with \`millrace rebuild start ${name} --reason …\`.`,
  );

const unfinished = (name: string, { since, position }: Reset): MillraceError =>
  new MillraceError(
    'CONSUMER_RUNNING',
    `A reset of "${name}" to position ${position} was begun at ${since.toISOString()} and is not done. If nobody is at it any more, repeat the reset before you resume.`,
  );

function unknownConsumer(name: string, model: Model, generation?: number): MillraceError {
  const known = model.consumers.map((one) => one.name).join(', ') || 'none';
  const which = generation === undefined ? '' : ` of generation ${generation}`;
  const isLive = [...model.liveProjectorOf.values()].some((one) => one.name === name);
  const live = isLive
    ? " It is a projector with mode 'live': its view is folded when it is read, and nothing runs it."
    : '';
  return new MillraceError(
    'UNKNOWN_CONSUMER',
    `There is no consumer "${String(name).slice(0, 100)}"${which}.${live} There are: ${known}.`,
  );
}
