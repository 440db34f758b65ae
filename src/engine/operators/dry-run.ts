import type { ConsumerModel, Model } from '../../define/model.ts';
import type { DeadLetterStore } from '../../store/dead-letters.ts';
import type { DeadLetterDocument } from '../../store/documents.ts';
import type { PartitionStore, ViewWrites } from '../../store/partitions.ts';
import type { SagaStore } from '../../store/sagas.ts';
import type { SideWrites } from '../../store/side-writes.ts';
import type { DryRun } from '../contract/operators.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import { storedError } from '../log/error-record.ts';
import { type DocumentState, documentOf } from '../partitions/document-cache.ts';
import type { Errand, ErrandDesk } from '../partitions/errand.ts';
import { runErrands } from '../partitions/errand-run.ts';
import { type Handler, projectorHandler } from '../partitions/handler.ts';
import { PartitionHead } from '../partitions/partition-head.ts';
import { SagaHandler } from '../sagas/saga-handler.ts';

export interface DryRunDeps {
  readonly logId: string;
  readonly model: Model;
  readonly partitions: PartitionStore;
  readonly deadLetters: DeadLetterStore;
  readonly decode: DecodeOnce;
  readonly sagas: SagaStore;
  readonly limits: { readonly dataMaxBytes: number; readonly maxDepth: number };
}

const HEAD_CACHE_BYTES = 1_000_000;

/**
 * Tries the failing input of a dead letter with today's code, on what is written now, and writes it in a transaction that is
 * given up. In any process that has the code: no worker is asked.
 */
export async function dryRun(deps: DryRunDeps, letter: DeadLetterDocument): Promise<DryRun> {
  const consumer = deps.model.consumers.find(
    ({ name, generation }) => name === letter.consumer && generation === letter.generation,
  );
  if (consumer === undefined) {
    return notTried(`Consumer "${letter.consumer}" (generation ${letter.generation}) is in no module of this process.`);
  }
  const handler = handlerFor(deps, consumer);
  if (handler === undefined) {
    return notTried(
      `The handler of ${consumer.kind} "${consumer.name}" acts on the outside world: a try is the real thing.`,
    );
  }
  const head = await headOf(deps, letter);
  if (head === undefined) return notTried('Its partition is not there: no worker has started this consumer.');
  try {
    const drafts = await draftOf(deps, { consumer, handler, head, letter });
    return await rehearsed(deps, handler, letter, drafts);
  } catch (error) {
    return { result: 'WOULD_FAIL', error: storedError(error), reason: null };
  }
}

interface Draft {
  readonly documents: ReadonlyMap<string, DocumentState>;
  readonly side: SideWrites;
}

const notTried = (reason: string): DryRun => ({ result: 'NOT_TRIED', error: null, reason });

/** Undefined for handlers that cannot be run without doing something. */
function handlerFor({ model, logId, sagas, limits }: DryRunDeps, consumer: ConsumerModel): Handler | undefined {
  if (consumer.kind === 'projector') return projectorHandler(consumer);
  if (consumer.kind === 'observer') return undefined;
  return new SagaHandler({ model, consumer, logId, store: sagas, direct: false, ...limits });
}

async function headOf(deps: DryRunDeps, { consumer, generation, partition }: DeadLetterDocument) {
  const ref = { consumer, generation, partition };
  const readings = await deps.partitions.read([ref]);
  const reading = readings.find((one) => one.partition === partition);
  if (reading === undefined) return undefined;
  const head = new PartitionHead(ref, HEAD_CACHE_BYTES);
  head.learn(reading, await deps.deadLetters.blocked([ref]));
  return head;
}

/** What the handler makes of it; undefined when the dead letter is gone meanwhile. Throws what the handler throws. */
async function draftOf(
  { logId, partitions, deadLetters, decode }: DryRunDeps,
  at: {
    readonly consumer: Model['consumers'][number];
    readonly handler: Handler;
    readonly head: PartitionHead;
    readonly letter: DeadLetterDocument;
  },
): Promise<Draft | undefined> {
  const { consumer, handler, head, letter } = at;
  const errand: Errand<Draft | undefined> = {
    of: { deadLetter: letter._id },
    waiting: true,
    run: (desk: ErrandDesk) => {
      if (desk.record === undefined) return undefined;
      const [event] = desk.waiting;
      if (desk.record.input !== 'event') desk.retryInput();
      else if (event !== undefined) desk.handle(event.decode());
      const own = desk.document.version === 0 ? [] : [[letter.key, desk.document] as const];
      return { documents: new Map([...own, ...desk.others]), side: desk.side };
    },
  };
  return new Promise<Draft | undefined>((resolve, reject) => {
    const pending = {
      errand,
      resolve: (draft: unknown) => resolve(draft as Draft | undefined),
      reject,
      dry: true,
      lostCount: 0,
      poison: undefined,
    };
    runErrands({ logId, consumer, handler, store: partitions, deadLetters, decode }, head, [pending]).then(
      ({ answers }) => {
        for (const answer of answers) answer();
        resolve(undefined);
      },
      reject,
    );
  });
}

async function rehearsed(
  { partitions }: DryRunDeps,
  { build }: Handler,
  letter: DeadLetterDocument,
  draft: Draft | undefined,
): Promise<DryRun> {
  if (draft === undefined) return notTried('It is not there any more: its key flows.');
  const documents = Array.from(draft.documents, ([key, state]) => documentOf(key, letter.partition, state));
  const writes: readonly ViewWrites[] = build === undefined || documents.length === 0 ? [] : [{ build, documents }];
  const end = await partitions.rehearse(writes, draft.side);
  if (end.kind === 'unstorable') return { result: 'WOULD_FAIL', error: storedError(end.error), reason: null };
  return { result: 'WOULD_SUCCEED', error: null, reason: null };
}
