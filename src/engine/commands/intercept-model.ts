import type { ConsumerModel, ProjectorModel } from '../../define/consumer-model.ts';
import type { Model, ServiceModel } from '../../define/model.ts';
import type { AnyQuery } from '../../define/query.ts';
import { currentAttempt, eventCall, type Intercept, interceptFor, type OnHookFailed } from './intercept.ts';

/**
 * The model with interceptors around the handlers of its queries, services and consumers; the very same model when it has no
 * interceptors. (Those of aggregates run in the command handler, which knows the command's metadata.)
 */
export function interceptModel(model: Model, onFailed: OnHookFailed): Model {
  if (model.interceptors.length === 0) return model;
  const around = (kind: Parameters<typeof interceptFor>[1]): Intercept | undefined =>
    interceptFor(model.interceptors, kind, onFailed);
  const kinds = { projector: around('projector'), saga: around('saga'), observer: around('observer') };
  const [query, service] = [around('query'), around('service')];
  const wrapped = new Map(
    model.consumers.map((consumer) => {
      const intercept = kinds[consumer.kind];
      return [consumer, intercept === undefined ? consumer : interceptConsumer(consumer, intercept)] as const;
    }),
  );
  const projector = (consumer: ProjectorModel): ProjectorModel => {
    const found = wrapped.get(consumer);
    return found?.kind === 'projector' ? found : consumer;
  };
  return {
    ...model,
    consumers: [...wrapped.values()],
    projectorOf: mapped(model.projectorOf, projector),
    queries: query === undefined ? model.queries : mapped(model.queries, (one) => interceptQuery(one, query)),
    services: service === undefined ? model.services : mapped(model.services, (one) => interceptService(one, service)),
  };
}

const mapped = <T>(map: ReadonlyMap<string, T>, change: (value: T) => T): ReadonlyMap<string, T> =>
  new Map(Array.from(map, ([name, value]) => [name, change(value)]));

function interceptConsumer(consumer: ConsumerModel, around: Intercept): ConsumerModel {
  const { kind, name } = consumer;
  switch (consumer.kind) {
    case 'projector': {
      const { projector } = consumer;
      const project: typeof projector.project = (doc, event, key) =>
        around.sync(eventCall(kind, name, event), () => projector.project(doc, event, key));
      const own = projector.write;
      const write: typeof own =
        own && ((event, documents) => around.sync(eventCall(kind, name, event), () => own(event, documents)));
      const previous = consumer.previous && interceptConsumer(consumer.previous, around);
      const before = previous?.kind === 'projector' ? previous : undefined;
      return { ...consumer, projector: { ...projector, project, ...(write && { write }) }, previous: before };
    }
    case 'saga': {
      const { saga } = consumer;
      const call = (type: string, input: unknown) =>
        ({ kind, name, type, input, meta: undefined, attempt: currentAttempt() }) as const;
      return {
        ...consumer,
        saga: {
          ...saga,
          onEvent: (state, event, ctx) =>
            around.sync(eventCall(kind, name, event), () => saga.onEvent(state, event, ctx)),
          onTimer: (state, timer, ctx) => around.sync(call(timer.name, timer), () => saga.onTimer(state, timer, ctx)),
          onRejected: (state, rejection, ctx) =>
            around.sync(call(rejection.type, rejection), () => saga.onRejected(state, rejection, ctx)),
        },
      };
    }
    case 'observer': {
      const { observer } = consumer;
      const observe: typeof observer.observe = (event, ctx) =>
        around.async(eventCall(kind, name, event, ctx.attempt), () => observer.observe(event, ctx));
      return { ...consumer, observer: { ...observer, observe } };
    }
  }
}

function interceptService(service: ServiceModel, around: Intercept): ServiceModel {
  const { definition, name } = service;
  const run: typeof definition.run = (type, data, ctx) =>
    around.async({ kind: 'service', name, type, input: data, meta: ctx.meta, attempt: ctx.attempt }, () =>
      definition.run(type, data, ctx),
    );
  return { ...service, definition: { ...definition, run } };
}

function interceptQuery(query: AnyQuery, around: Intercept): AnyQuery {
  const { name } = query;
  const run: AnyQuery['run'] = (input, read) =>
    around.async({ kind: 'query', name, type: name, input, meta: undefined, attempt: 1 }, async () =>
      query.run(input, read),
    );
  return { ...query, run };
}
