import type { MillraceBuilder } from './builder.ts';
import { claim } from './registry.ts';

/** What the types of all subscriptions share. */
export function changeTypes(builder: MillraceBuilder) {
  claim(builder, 'type Signal', 'a type of the platform');
  const signal = builder.enumType('Signal', {
    description: 'What a delivery of a subscription means.',
    values: {
      SNAPSHOT: { description: 'Something as it is now, sent before any change of it.' },
      UPDATE: { description: 'Something as it is after a change; steps in between may be merged.' },
      REMOVED: { description: 'It is gone, or no longer matches the filter.' },
      CAUGHT_UP: { description: 'Everything up to here was sent; what follows is live.' },
      GAP: { description: 'Something may be missing before this: drop what you have, a new snapshot follows.' },
    },
  });
  const describe = (view: string): string =>
    `A change of a document in the view "${view}". Versions of a document only rise; the last state is never missed.`;
  return { signal, describe };
}
