import type { Collection, Db } from 'mongodb';
import type { View } from '../define/view.ts';
import { ignoreExisting } from './commits.ts';
import { CHANGES_INDEX, type IndexKeys, indexKeysOf, viewCollectionName } from './view-documents.ts';

/** Told while indexes are built over documents that are there already; a view that is empty, or lacks none, says nothing. */
export interface IndexBuild {
  readonly view: string;
  readonly generation: number;
  /** What is built, as a declaration would say it. */
  readonly indexes: readonly string[];
  /** Roughly. */
  readonly documentCount: number;
  readonly state: 'BEGUN' | 'UNDER_WAY' | 'DONE';
  readonly elapsedMs: number;
  /** 0 to 1 of the scan; undefined where this user may not see it. */
  readonly progress: number | undefined;
}
export type OnIndexBuild = (build: IndexBuild) => void;

/** Declared indexes by their keys, without those that `_id` serves. */
const declaredOf = (view: View): readonly IndexKeys[] =>
  view.indexes.map(indexKeysOf).filter((keys) => keys.length > 1);

/** Indexes that a view must have, each once. */
const neededIndexes = (view: View): readonly IndexKeys[] => [
  ...new Map([CHANGES_INDEX, ...declaredOf(view)].map((keys) => [JSON.stringify(keys), keys])).values(),
];

/** As an author declares it. */
export const indexText = (keys: IndexKeys): string =>
  `{ ${keys.map(([field, direction]) => `${field}: ${direction}`).join(', ')} }`;

/** Indexes that a view must have and MongoDB does not. A collection that is not there has none. */
export async function missingIndexes(db: Db, view: View, generation: number): Promise<readonly IndexKeys[]> {
  const collection = db.collection(viewCollectionName({ view: view.name, generation }));
  const there = new Set((await collection.listIndexes().toArray().catch(none)).map(({ key }) => keysText(key)));
  return neededIndexes(view).filter((keys) => !there.has(JSON.stringify(keys)));
}

const NAMESPACE_NOT_FOUND = 26;
function none(error: { readonly code?: unknown }): readonly { readonly key: object }[] {
  if (error.code === NAMESPACE_NOT_FOUND) return [];
  throw error;
}
const keysText = (key: object): string => JSON.stringify(Object.entries(key));

const TELL_EVERY_MS = 10_000;

/** Runs what builds indexes of a collection and tells how it goes, where it takes documents that are there already. */
async function tellingBuilds<T>(
  db: Db,
  { view, generation }: { readonly view: View; readonly generation: number },
  tell: OnIndexBuild | undefined,
  build: () => Promise<T>,
): Promise<T> {
  if (tell === undefined) return build();
  const collection = db.collection(viewCollectionName({ view: view.name, generation }));
  const [missing, documentCount] = [
    await missingIndexes(db, view, generation),
    await collection.estimatedDocumentCount(),
  ];
  if (missing.length === 0 || documentCount === 0) return build();
  const begun = Date.now();
  const say = (state: IndexBuild['state'], progress?: number): void =>
    tell({
      ...{ view: view.name, generation, indexes: missing.map(indexText), documentCount, state, progress },
      elapsedMs: Date.now() - begun,
    });
  say('BEGUN');
  const timer = setInterval(() => {
    progressOf(db, collection).then((progress) => say('UNDER_WAY', progress));
  }, TELL_EVERY_MS);
  try {
    const built = await build();
    say('DONE', 1);
    return built;
  } finally {
    clearInterval(timer);
  }
}

/** Undefined for users who may not see what the server does, and between the stages of a build. */
async function progressOf(db: Db, { collectionName, dbName }: Collection): Promise<number | undefined> {
  try {
    const own = { 'command.createIndexes': collectionName, 'command.$db': dbName, progress: { $exists: true } };
    const stages = [{ $currentOp: { allUsers: true } }, { $match: own }];
    const [found] = await db.client
      .db('admin')
      .aggregate(stages, { readConcern: { level: 'local' } })
      .toArray();
    const { done, total } = found?.progress ?? {};
    return total > 0 ? Math.min(1, done / total) : undefined;
  } catch {
    return undefined;
  }
}

/** How long a removed document is remembered, so that subscribers and late hints learn of the removal. */
export const TOMBSTONE_TTL_S = 86_400;

/**
 * Creates the collection of a view generation, its declared indexes, the index that finds changes by partition and
 * revision, and the one that forgets tombstones. Idempotent; several processes may run it at once. A new index of a large view
 * takes as long as it takes: `tell` hears of it.
 */
export async function ensureViewCollection(db: Db, view: View, generation: number, tell?: OnIndexBuild): Promise<void> {
  const name = viewCollectionName({ view: view.name, generation });
  // Clustered: a document that is deleted and inserted by one transaction keeps its place for scans under way.
  await db.createCollection(name, { clusteredIndex: { key: { _id: 1 }, unique: true } }).catch(ignoreExisting);
  const keys = neededIndexes(view).map((index) => ({ key: new Map(index) }));
  const forgets = { key: { _deleted: 1 }, expireAfterSeconds: TOMBSTONE_TTL_S, sparse: true } as const;
  await tellingBuilds(db, { view, generation }, tell, () => db.collection(name).createIndexes([...keys, forgets]));
}
