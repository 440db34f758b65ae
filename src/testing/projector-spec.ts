import type { Contract } from '../define/aggregate.ts';
import { projectorModel } from '../define/consumer-model.ts';
import type { EventsFrom } from '../define/consumer-spec.ts';
import { consumerKeys, type DocumentFields, projectDocument } from '../define/project.ts';
import type { Projector } from '../define/projector.ts';
import type { Doc, View } from '../define/view.ts';
import { checkView } from '../define/view-rules.ts';
import { writeDocuments } from '../define/write-documents.ts';
import { type SpecOptions, specContext } from './context.ts';
import { deepFreeze } from './freeze.ts';
import { eventModels, type GivenEvent, recorder } from './recorder.ts';

export interface ProjectorResult<D> {
  /** The view after the events, by document id. */
  readonly documents: ReadonlyMap<string, D>;
}
export interface ProjectorSpecRunner<A extends readonly Contract[], V extends View> {
  /** Runs the events in order, of one or several streams. What a handler throws passes. */
  given(...events: readonly GivenEvent<EventsFrom<A>>[]): ProjectorResult<Doc<V>>;
}

export function projectorSpec<A extends readonly Contract[], V extends View>(
  definition: Projector<A, V>,
  options: SpecOptions,
): ProjectorSpecRunner<A, V> {
  const place = `projector "${definition.name}"`;
  const consumer = projectorModel(definition, place);
  checkView(definition.into, `view "${definition.into.name}"`);
  const events = eventModels(definition.from);
  const context = specContext(options);
  return {
    given: (...given) => {
      const documents = new Map<string, DocumentFields>();
      const record = recorder(events, place, context);
      for (const event of given) {
        const recorded = deepFreeze(record(event, event.at ?? context.now));
        const keys = consumerKeys(consumer, recorded);
        if (definition.write !== undefined) {
          const written = writeDocuments(definition, recorded, (id) => documents.get(id) ?? null);
          for (const [id, next] of keys.length === 0 ? [] : written) {
            if (next === null) documents.delete(id);
            else documents.set(id, next);
          }
          continue;
        }
        for (const key of keys) {
          const next = projectDocument(definition, documents.get(key), recorded, key);
          if (next === null) documents.delete(key);
          else if (next !== undefined) documents.set(key, next);
        }
      }
      // The view's schema has just put these documents out.
      return { documents: documents as ReadonlyMap<string, unknown> as ReadonlyMap<string, Doc<V>> };
    },
  };
}
