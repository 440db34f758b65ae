import type { PartitionStore } from '../../store/partitions.ts';
import { ABSENT, stateOf } from './document-cache.ts';
import type { Handler } from './handler.ts';
import { readLeads, targetsOf } from './key-route.ts';
import type { PartitionHead } from './partition-head.ts';
import type { Task } from './stretch.ts';

/** Documents that these tasks concern and that are not in memory: one read for all partitions. */
export async function fetchDocuments(
  options: { readonly handler: Handler; readonly store: Pick<PartitionStore, 'documents'> },
  tasks: ReadonlyMap<PartitionHead, readonly Task[]>,
): Promise<void> {
  const { handler, store } = options;
  await readLeads(handler, tasks);
  const missing = new Map<string, PartitionHead>();
  for (const [head, list] of tasks) {
    for (const id of head.wanted) if (head.documents.get(id) === undefined) missing.set(id, head);
    head.wanted.clear();
    for (const { keys } of list) {
      for (const { id } of targetsOf(handler, head, keys) ?? []) {
        if (!head.blocked.has(id) && head.documents.get(id) === undefined) missing.set(id, head);
      }
    }
  }
  if (missing.size === 0) return;
  const epochs = new Map(Array.from(tasks.keys(), (head) => [head, head.epoch]));
  const { build } = handler;
  const found = build === undefined ? [] : await store.documents(build, [...missing.keys()]);
  const states = new Map(found.map((document) => [document._id, stateOf(document)]));
  for (const [key, head] of missing) {
    if (head.epoch === epochs.get(head)) head.documents.set(key, states.get(key) ?? ABSENT);
  }
}
