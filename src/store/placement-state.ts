import type { Db } from 'mongodb';

/** A stream that cannot go on: the commit with `version` is neither in the log nor in `commits`. */
export interface HeldStream {
  readonly stream: string;
  /** Version of the missing event. */
  readonly version: number;
  readonly since: Date;
}

/** `sequencers`: what a sequencer leaves to its successor. Saved lazily; an old one only replays. */
export interface PlacementState {
  /** Place in the change stream; everything before it is in the log. Null after its history was lost. */
  readonly token: unknown;
  /** Names the pipeline that the token belongs to: another one cannot go on from it. */
  readonly pipeline: string;
  readonly held: readonly HeldStream[];
}

export interface PlacementStateStore {
  load(): Promise<PlacementState | undefined>;
  save(state: PlacementState): Promise<void>;
}

const ANSWER_MAX_MS = 10_000;

export function createPlacementStateStore(db: Db, logId: string): PlacementStateStore {
  const sequencers = db.collection<PlacementState & { readonly _id: string }>('sequencers', {
    timeoutMS: ANSWER_MAX_MS,
  });
  return {
    load: async () => (await sequencers.findOne({ _id: logId })) ?? undefined,
    async save({ token, pipeline, held }) {
      await sequencers.replaceOne({ _id: logId }, { token, pipeline, held }, { upsert: true });
    },
  };
}
