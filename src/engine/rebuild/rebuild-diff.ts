import { isDeepStrictEqual } from 'node:util';
import type { ViewDocument } from '../../store/documents.ts';
import type { BuildPage, RebuildPage } from '../../store/rebuild-pages.ts';
import type { RebuildDiff, RebuildDiffField, RebuildDiffSample } from '../contract/rebuild.ts';
import { authorsPart } from '../views/view-handles.ts';

export type DiffCounts = Pick<
  RebuildDiff,
  'sameCount' | 'changedCount' | 'onlyOldCount' | 'onlyNewCount' | 'unsettledCount'
>;
export type DiffTally = { -readonly [K in keyof DiffCounts]: number } & { readonly samples: RebuildDiffSample[] };

const SAMPLES_MAX_COUNT = 20;
const FIELDS_MAX_COUNT = 20;

export const emptyTally = (): DiffTally => ({
  sameCount: 0,
  changedCount: 0,
  onlyOldCount: 0,
  onlyNewCount: 0,
  unsettledCount: 0,
  samples: [],
});

/**
 * Adds a page. Documents are compared by the author's fields. Those that differ count only when both generations have handled the
 * last event of either: else it is their pace that differs, and not what they make of an event.
 */
export function tallyPage(tally: DiffTally, { older, newer }: RebuildPage): void {
  const news = new Map(newer.documents.map((document) => [document._id, document]));
  const olds = new Set(older.documents.map(({ _id }) => _id));
  for (const document of older.documents) tallyOne(tally, document._id, document, news.get(document._id), older, newer);
  for (const document of newer.documents) {
    if (!olds.has(document._id)) tallyOne(tally, document._id, undefined, document, older, newer);
  }
}

function tallyOne(
  tally: DiffTally,
  id: string,
  one: ViewDocument | undefined,
  other: ViewDocument | undefined,
  older: BuildPage,
  newer: BuildPage,
): void {
  const before = present(one);
  const after = present(other);
  if (before === undefined && after === undefined) return;
  const fields = differing(before ?? {}, after ?? {});
  if (before !== undefined && after !== undefined && fields.length === 0) {
    tally.sameCount++;
    return;
  }
  const last = Math.max(one?._position ?? 0, other?._position ?? 0);
  if (last > Math.min(handled(one, older), handled(other, newer))) {
    tally.unsettledCount++;
    return;
  }
  const kind = before === undefined ? 'ONLY_NEW' : after === undefined ? 'ONLY_OLD' : 'CHANGED';
  if (kind === 'CHANGED') tally.changedCount++;
  else if (kind === 'ONLY_OLD') tally.onlyOldCount++;
  else tally.onlyNewCount++;
  if (tally.samples.length < SAMPLES_MAX_COUNT) {
    tally.samples.push({ id, kind, fields: fields.slice(0, FIELDS_MAX_COUNT) });
  }
}

const present = (document: ViewDocument | undefined) =>
  document === undefined || document._deleted !== undefined ? undefined : authorsPart(document);

/** How far the partition of a document is; of one that is not there, all of them: any could write it. */
const handled = (document: ViewDocument | undefined, { checkpoints }: BuildPage): number =>
  (document && checkpoints[document._partition]) ?? (checkpoints.length === 0 ? 0 : Math.min(...checkpoints));

type Fields = Readonly<Record<string, unknown>>;
function differing(older: Fields, newer: Fields): RebuildDiffField[] {
  const names = new Set([...Object.keys(older), ...Object.keys(newer)]);
  return [...names].flatMap((name) => {
    const one = Object.hasOwn(older, name) ? older[name] : undefined;
    const other = Object.hasOwn(newer, name) ? newer[name] : undefined;
    return isDeepStrictEqual(one, other) ? [] : [{ name, older: one, newer: other }];
  });
}
