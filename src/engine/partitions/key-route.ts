import type { Handler, KeyRoute } from './handler.ts';
import type { PartitionHead } from './partition-head.ts';
import type { Task } from './stretch.ts';

/** A document that an event belongs to, and the event's keys that lead there. */
export type Target = ReturnType<KeyRoute['targets']>[number];

/** Keys that one partition remembers; more are read again. */
const LEADS_MAX_COUNT = 50_000;

/** Where the events of a partition go: the keys themselves name documents, or they lead to them. Undefined: not in memory. */
export function targetsOf(
  { route }: Handler,
  head: PartitionHead,
  keys: readonly string[],
): readonly Target[] | undefined {
  if (route === undefined) return keys.map((id) => ({ id, keys: [] }));
  if (keys.some((key) => !head.leads.has(key))) return undefined;
  return route.targets(keys, (key) => head.leads.get(key) ?? undefined);
}

/** Reads where the keys of these events lead, unless the partitions know. */
export async function readLeads({ route }: Handler, tasks: ReadonlyMap<PartitionHead, readonly Task[]>): Promise<void> {
  if (route === undefined) return;
  for (const [head, list] of tasks) {
    const { epoch } = head;
    if (head.leads.size > LEADS_MAX_COUNT && head.queuedCount === 0) head.leads.clear();
    const missing = new Set<string>();
    for (const { keys } of list) for (const key of keys) if (!head.leads.has(key)) missing.add(key);
    if (missing.size === 0) continue;
    const found = await route.read([...missing]);
    if (head.epoch !== epoch) continue;
    for (const key of missing) head.leads.set(key, found.get(key) ?? null);
  }
}
