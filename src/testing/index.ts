/** Specs for authors, exported as `millrace/testing`: given what happened, when a command comes, then what? */
import type { Aggregate, Contract } from '../define/aggregate.ts';
import type { EventMap } from '../define/event.ts';
import type { Projector } from '../define/projector.ts';
import type { Saga } from '../define/saga.ts';
import type { SchemaMap } from '../define/schema.ts';
import type { View } from '../define/view.ts';
import { type AggregateSpecRunner, aggregateSpec } from './aggregate-spec.ts';
import type { SpecOptions } from './context.ts';
import { type ProjectorSpecRunner, projectorSpec } from './projector-spec.ts';
import { type SagaSpecOptions, type SagaSpecRunner, sagaSpec } from './saga-spec.ts';

export type { AggregateResult, AggregateSpecRunner, OldEvent } from './aggregate-spec.ts';
export type { SpecOptions } from './context.ts';
export type { ProjectorResult, ProjectorSpecRunner } from './projector-spec.ts';
export type { GivenEvent } from './recorder.ts';
export type { SagaSpecOptions, SagaSpecRunner, SagaStage, SpecRefusal } from './saga-spec.ts';
export { type SentOutcome, type SettleOptions, type SettlingApp, settled } from './settled.ts';

/**
 * Runs an aggregate, a projector or a saga by itself: no store, no clock, no I/O, and the same ids and times in every run. The
 * rules of the platform hold (schemas, upcasts, `creates`, `closes`, `key`), and what handlers are given is frozen.
 *
 *     spec(account).given({ type: 'AccountOpened', data: { … } }).when({ type: 'Withdraw', data: { amount: 1 } }).rejected
 *     spec(balances).given({ type: 'AccountOpened', data: { … }, id: 'a' }).documents.get('a')
 *     spec(transfers, { to: [account] }).given({ type: 'TransferRequested', data: { … } }).advance(60_000).sent
 *
 * Throws DEFINITION_INVALID or SCHEMA_NOT_DERIVABLE for a definition that would be refused at start, EVENT_INVALID and
 * DECISION_INVALID as the platform would.
 */
export function spec<C extends SchemaMap, E extends EventMap, S, R extends string>(
  of: Aggregate<string, C, E, S, R>,
  options?: SpecOptions,
): AggregateSpecRunner<C, E, S, R>;
export function spec<A extends readonly Contract[], V extends View>(
  of: Projector<A, V>,
  options?: SpecOptions,
): ProjectorSpecRunner<A, V>;
export function spec<A extends readonly Contract[], S>(of: Saga<A, S>, options?: SagaSpecOptions): SagaSpecRunner<A, S>;
export function spec<C extends SchemaMap, E extends EventMap, S, R extends string>(
  of: Aggregate<string, C, E, S, R> | Projector | Saga,
  options: SagaSpecOptions = {},
):
  | AggregateSpecRunner<C, E, S, R>
  | ProjectorSpecRunner<readonly Contract[], View>
  | SagaSpecRunner<readonly Contract[], unknown> {
  if (of.kind === 'saga') return sagaSpec(of, options);
  return of.kind === 'aggregate' ? aggregateSpec(of, options) : projectorSpec(of, options);
}
