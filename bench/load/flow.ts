import { randomUUID } from 'node:crypto';
import { accountId } from '../lib/append-contender.ts';
import { Latencies } from '../lib/closed-loop.ts';
import { acceptedVersion, type Door, type DoorChoice, depositOperation, openDoor } from './door.ts';
import { subscribeAccounts } from './subscribers.ts';

export interface FlowPlace {
  readonly url: string;
  readonly accountCount: number;
  readonly subscriptionsPerSocketCount: number;
}
export interface FlowRound {
  /** The way of the mutations; views are watched over graphql-ws. */
  readonly door: DoorChoice;
  /** Open loop at a rate, or closed loop with a number of mutations not yet acknowledged. */
  readonly load:
    | { readonly kind: 'rate'; readonly perSecond: number }
    | { readonly kind: 'full'; readonly inFlightCount: number };
  readonly durationMs: number;
  /** How long to wait after the last mutation until all effects were pushed. */
  readonly drainMs: number;
}

export interface FlowFigures {
  readonly eventCount: number;
  /** Events whose effect was pushed, by the time from the first mutation to the last push. */
  readonly perSecond: number;
  readonly mutationsPerSecond: number;
  readonly pushCount: number;
  /** From sending the mutation to the first push that shows its effect. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly acknowledgedP50Ms: number;
  readonly acknowledgedP99Ms: number;
}

/**
 * What the subscriber of one account has seen. Each deposit is of 1, so the deposit that made version v of the stream
 * (version 1 opened the account with 0) is shown by the first push with a balance of v - 1 or more: this holds for
 * systems that push every step and for those that merge steps.
 */
class Watched {
  /** -1 until the snapshot. */
  balance = -1;
  /** When a balance was first reached or passed, until its deposit has asked. */
  readonly #seenAtMs = new Map<number, number>();
  readonly #waiting = new Map<number, (seenAtMs: number) => void>();

  push(balance: number, nowMs: number): void {
    if (this.balance < 0) {
      this.balance = balance;
      return;
    }
    for (let reached = this.balance + 1; reached <= balance; reached++) {
      const waiting = this.#waiting.get(reached);
      this.#waiting.delete(reached);
      if (waiting === undefined) this.#seenAtMs.set(reached, nowMs);
      else waiting(nowMs);
    }
    this.balance = Math.max(this.balance, balance);
  }

  seen(balance: number): Promise<number> {
    const at = this.#seenAtMs.get(balance);
    this.#seenAtMs.delete(balance);
    if (at !== undefined) return Promise.resolve(at);
    return new Promise((resolve) => this.#waiting.set(balance, resolve));
  }
}

/** One round's figures and the effects that are still to be shown. */
class Measurement {
  readonly shown = new Latencies();
  readonly acknowledged = new Latencies();
  readonly effects: Promise<void>[] = [];
  readonly door: Door;
  lastPushMs = 0;
  acknowledgedCount = 0;

  constructor(door: Door) {
    this.door = door;
  }
}

/** A client that watches every account over graphql-ws and sends deposits through a door. */
export class Flow {
  readonly #place: FlowPlace;
  readonly #watched: ReadonlyMap<string, Watched>;
  readonly #leave: () => Promise<void>;
  #pushCount = 0;
  #next = 0;
  #failed: Error | undefined;

  private constructor(place: FlowPlace, watched: ReadonlyMap<string, Watched>, leave: () => Promise<void>) {
    this.#place = place;
    this.#watched = watched;
    this.#leave = leave;
  }

  /** Resolves when every account has sent its snapshot. */
  static async open(place: FlowPlace): Promise<Flow> {
    const ids = Array.from({ length: place.accountCount }, (_, account) => accountId(account));
    const watched = new Map(ids.map((id) => [id, new Watched()]));
    let flow: Flow | undefined;
    const leave = await subscribeAccounts(
      { url: place.url, ids, perSocketCount: place.subscriptionsPerSocketCount },
      (id, { balance }) => {
        if (balance !== undefined) watched.get(id)?.push(balance, performance.now());
        if (flow !== undefined) flow.#pushCount += 1;
      },
      (error) => {
        if (flow !== undefined) flow.#failed = error;
      },
    );
    flow = new Flow(place, watched, leave);
    return flow;
  }

  /** Sends deposits as `round.load` says, then waits until the effect of each was pushed. */
  async run(round: FlowRound): Promise<FlowFigures> {
    this.#pushCount = 0;
    // A door a round: servers close connections that were idle while others had their turn.
    const door = await openDoor(this.#place.url, round.door);
    const measurement = new Measurement(door);
    const startMs = performance.now();
    await this.#send(measurement, round, startMs);
    const sentMs = performance.now() - startMs;
    await within(round.drainMs, Promise.all(measurement.effects));
    await door.close();
    if (this.#failed !== undefined) throw this.#failed;
    const { acknowledgedCount, lastPushMs, shown, acknowledged } = measurement;
    return {
      eventCount: acknowledgedCount,
      perSecond: (acknowledgedCount / (lastPushMs - startMs)) * 1000,
      mutationsPerSecond: (acknowledgedCount / sentMs) * 1000,
      pushCount: this.#pushCount,
      p50Ms: shown.percentileMs(50),
      p99Ms: shown.percentileMs(99),
      acknowledgedP50Ms: acknowledged.percentileMs(50),
      acknowledgedP99Ms: acknowledged.percentileMs(99),
    };
  }

  async close(): Promise<void> {
    await this.#leave();
  }

  async #send(measurement: Measurement, { load, durationMs }: FlowRound, startMs: number): Promise<void> {
    const endMs = startMs + durationMs;
    if (load.kind === 'full') {
      const slot = async () => {
        while (performance.now() < endMs) await this.#deposit(measurement);
      };
      await Promise.all(Array.from({ length: load.inFlightCount }, slot));
      return;
    }
    // Open loop: each mutation leaves at its time, whatever became of those before it.
    const sent: Promise<void>[] = [];
    const count = Math.round((durationMs / 1000) * load.perSecond);
    for (let i = 0; i < count; i++) {
      const waitMs = startMs + (i * 1000) / load.perSecond - performance.now();
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
      sent.push(this.#deposit(measurement));
    }
    await Promise.all(sent);
  }

  /** Resolves when the mutation is acknowledged. */
  async #deposit(measurement: Measurement): Promise<void> {
    this.#next = (this.#next + 1) % this.#place.accountCount;
    const id = accountId(this.#next);
    const sentAtMs = performance.now();
    const version = acceptedVersion(await measurement.door.request(depositOperation(id, 1, randomUUID())));
    measurement.acknowledged.record(performance.now() - sentAtMs);
    measurement.acknowledgedCount += 1;
    const watched = this.#watched.get(id);
    if (watched === undefined) throw new Error(`${id} is not watched`);
    measurement.effects.push(
      watched.seen(version - 1).then((seenAtMs) => {
        measurement.shown.record(seenAtMs - sentAtMs);
        measurement.lastPushMs = Math.max(measurement.lastPushMs, seenAtMs);
      }),
    );
  }
}

async function within(ms: number, effects: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`effects still missing ${ms} ms after the last mutation`)), ms);
  });
  await Promise.race([effects, late]).finally(() => clearTimeout(timer));
}
