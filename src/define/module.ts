import type { AnyAggregate } from './aggregate.ts';
import type { DeadLetterAlert } from './dead-letter-alert.ts';
import type { Interceptor } from './interceptor.ts';
import type { Observer } from './observer.ts';
import type { Projector } from './projector.ts';
import type { AnyQuery } from './query.ts';
import type { Saga } from './saga.ts';
import type { Schedule } from './schedule.ts';
import type { AnyService } from './service.ts';
import type { View } from './view.ts';

export type Part =
  | AnyAggregate
  | AnyService
  | View
  | Projector
  | AnyQuery
  | Saga
  | Observer
  | Schedule
  | Interceptor
  | DeadLetterAlert;

/** What a team deploys together: a name and its parts, in any order. */
export interface Module {
  readonly kind: 'module';
  readonly name: string;
  readonly parts: readonly Part[];
}
export function module(spec: { readonly name: string; readonly parts: readonly Part[] }): Module {
  return { kind: 'module', name: spec.name, parts: spec.parts };
}
