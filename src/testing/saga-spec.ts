import type { Contract, Dispatch } from '../define/aggregate.ts';
import { commandModel } from '../define/aggregate-model.ts';
import { sagaModel } from '../define/consumer-model.ts';
import type { EventsFrom } from '../define/consumer-spec.ts';
import type { CommandModel } from '../define/model.ts';
import type { Saga } from '../define/saga.ts';
import type { SagaTargets } from '../define/saga-reaction.ts';
import { type SpecOptions, specContext } from './context.ts';
import { eventModels, type GivenEvent } from './recorder.ts';
import { SagaWorld } from './saga-world.ts';

export interface SagaSpecOptions extends SpecOptions {
  /**
   * Aggregates and services that it sends to: commands to them, and to those of `from`, are checked by their schemas. Those to
   * others are not.
   */
  readonly to?: readonly Contract[];
}

/** Which refusal comes back, of which command. */
export interface SpecRefusal {
  readonly code: string;
  /** Default: the code. */
  readonly reason?: string;
  /** One of those that were sent; default: the last one. */
  readonly command?: Dispatch;
}

/** What the inputs so far came to. Every input makes a new stage and leaves this one as it is. */
export interface SagaStage<A extends readonly Contract[], S> {
  /** Of the instance that the last input belonged to; undefined when there is none. */
  readonly state: S | undefined;
  /** Id of that instance. */
  readonly id: string | undefined;
  /** True when it is over. */
  readonly ended: boolean;
  /** Due times of its timers, by name. */
  readonly timers: ReadonlyMap<string, Date>;
  /** What the last call made the saga send, in order. */
  readonly sent: readonly Dispatch[];
  /** The virtual clock. */
  readonly now: Date;
  /** The state of every instance that was started, by id. */
  readonly instances: ReadonlyMap<string, S>;
  /** An event. With a later `at` the clock moves there first, and fires what is due until then. */
  when(event: GivenEvent<EventsFrom<A>>): SagaStage<A, S>;
  /** Moves the clock, and fires the timers that become due, each at its time. */
  advance(ms: number): SagaStage<A, S>;
  /** A command of this saga was refused. Throws BAD_INPUT when it sent no such command. */
  reject(refusal: SpecRefusal): SagaStage<A, S>;
}

export interface SagaSpecRunner<A extends readonly Contract[], S> {
  /** Runs the events in order; their `sent` is that of all of them. What a handler throws passes. */
  given(...events: readonly GivenEvent<EventsFrom<A>>[]): SagaStage<A, S>;
}

export function sagaSpec<A extends readonly Contract[], S>(
  definition: Saga<A, S>,
  options: SagaSpecOptions,
): SagaSpecRunner<A, S> {
  const place = `saga "${definition.name}"`;
  const model = sagaModel(definition, place);
  const context = specContext(options);
  const facts = { model, context, events: eventModels(definition.from), targets: targetsOf(definition.from, options) };
  return {
    given: (...events) => {
      const world = new SagaWorld(facts);
      for (const event of events) world.handle(event);
      return stageOf<A, S>(world);
    },
  };
}

function targetsOf(from: readonly Contract[], { to = [] }: SagaSpecOptions): SagaTargets {
  const known = new Map<string, ReadonlyMap<string, CommandModel>>();
  for (const contract of [...from, ...to]) {
    const types = Object.keys(contract.commands);
    known.set(contract.name, new Map(types.map((type) => [type, commandModel(contract, type, contract.name)])));
  }
  return (name) => known.get(name) ?? 'any';
}

function stageOf<A extends readonly Contract[], S>(world: SagaWorld): SagaStage<A, S> {
  const { instance, id } = world;
  const next = (run: (copy: SagaWorld) => void): SagaStage<A, S> => {
    const copy = world.copy();
    run(copy);
    return stageOf(copy);
  };
  return {
    // The saga's own `initial` and handlers made these states.
    state: instance?.state as S | undefined,
    id,
    ended: instance?.status === 'ENDED',
    timers: new Map(instance?.timers.map(({ name, dueAt }) => [name, dueAt])),
    sent: world.sent,
    now: world.now,
    instances: new Map(Array.from(world.instances, ([key, { state }]) => [key, state as S])),
    when: (event) => next((copy) => copy.handle(event)),
    advance: (ms) => next((copy) => copy.advance(ms)),
    reject: (refusal) => next((copy) => copy.reject(refusal)),
  };
}
