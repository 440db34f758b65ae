import type { InstanceStore } from '../../store/instances.ts';
import { batchByKey } from '../concurrency/coalesce.ts';
import { isLiving } from './membership.ts';

/**
 * Whether a process died. One that is not known any more was buried, or left with something in its hands when the time for its stop
 * had run out.
 */
export function whoDied(instances: Pick<InstanceStore, 'list'>): (id: string) => Promise<boolean | undefined> {
  return batchByKey(async (ids) => {
    const living = new Set((await instances.list()).filter(isLiving).map(({ _id }) => _id));
    return new Map(ids.map((id) => [id, !living.has(id)]));
  });
}
