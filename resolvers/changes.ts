import type { GapReason } from '../src/index.ts';
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
      GAP: {
        description: 'Something may be missing before this: drop what you have, a new snapshot and CAUGHT_UP follow.',
      },
    },
  });
  claim(builder, 'type GapReason', 'a type of the platform');
  const gap = builder.enumType('GapReason', {
    description:
      'Why a subscription could not go on where its cursor was. What the client has may be wrong: it drops it.',
    values: {
      OTHER_LOG: { description: 'The cursor is of another deployment or log.' },
      OTHER_VIEW: { description: 'The cursor is of another view.' },
      OTHER_DOCUMENT: { description: 'The cursor is of another document of the view, or of a list.' },
      OTHER_FILTER: { description: 'The cursor is of a list with another filter, or of one document.' },
      GENERATION: { description: 'The view was rebuilt, perhaps just now.' },
      INCOMPLETE: { description: 'The snapshot was cut off before its CAUGHT_UP.' },
      TOO_OLD: { description: 'Removals are remembered for a day, and something changed since.' },
      AHEAD: { description: 'The cursor holds more than is stored: an older state of the database was restored.' },
    } satisfies Record<GapReason, { description: string }>,
  });
  const describe = (view: string): string =>
    `A change of a document in the view "${view}". Versions of a document only rise; the last state is never missed.`;
  return { signal, gap, describe };
}
