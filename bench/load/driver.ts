import { randomUUID } from 'node:crypto';
import { accountId } from '../lib/append-contender.ts';
import { closedLoop, type LoopFigures } from '../lib/closed-loop.ts';
import { serve } from '../lib/serve.ts';
import { acceptedVersion, type DoorChoice, depositOperation, openDoor } from './door.ts';
import { Flow, type FlowFigures, type FlowPlace, type FlowRound } from './flow.ts';
import { type ReadRound, readDocuments, sendForTokens } from './reads.ts';
import { holdSubscribers, type SubscriberRound } from './subscribers.ts';

/** The load generator: a process of its own that drives any of the servers through the same door. */
export interface MutationRound {
  readonly url: string;
  readonly door: DoorChoice;
  readonly inFlightCount: number;
  readonly durationMs: number;
  readonly accountCount: number;
}

let next = 0;
let flow: Flow | undefined;
let release: () => Promise<void> = async () => undefined;

serve({
  /** Deposits only, `inFlightCount` under way all the time. */
  async mutations(round: MutationRound): Promise<LoopFigures> {
    const door = await openDoor(round.url, round.door);
    const figures = await closedLoop({
      concurrency: round.inFlightCount,
      durationMs: round.durationMs,
      async operation() {
        next = (next + 1) % round.accountCount;
        acceptedVersion(await door.request(depositOperation(accountId(next), 1, randomUUID())));
      },
    });
    await door.close();
    return figures;
  },
  async openFlow(place: FlowPlace): Promise<void> {
    await flow?.close();
    flow = await Flow.open(place);
  },
  async flow(round: FlowRound): Promise<FlowFigures> {
    if (flow === undefined) throw new Error('openFlow comes first');
    return flow.run(round);
  },
  sendForTokens: ({ url, door }: Pick<ReadRound, 'url' | 'door'>): Promise<void> => sendForTokens(url, door),
  read: (round: ReadRound): Promise<LoopFigures> => readDocuments(round),
  async subscribe(round: SubscriberRound): Promise<void> {
    release = await holdSubscribers(round);
  },
  async unsubscribe(): Promise<void> {
    await release();
  },
});
