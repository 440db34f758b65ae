import { Redis } from 'ioredis';
import { accountId } from '../lib/append-contender.ts';
import { Latencies } from '../lib/closed-loop.ts';
import { serve } from '../lib/serve.ts';
import { openRawSocket, type RawSocket } from './raw-socket.ts';

export interface FanPlace {
  readonly url: string;
  readonly socketCount: number;
  /** All sockets watch one account, or each its own. */
  readonly accounts: 'ONE' | 'EACH';
  /** Channel of Redis over which the server hears of changes: a time begins when this process hears of them, too. */
  readonly channel: string;
}
export interface FanFigures {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly messageCount: number;
  /** One of the messages, as it came. */
  readonly sample: string;
}

const CHANGED = `subscription Changed($id: ID!) {
  accountChanged(id: $id) { signal cursor id node { balance } version origins }
}`;
/** At once; more would only fill the server's backlog. */
const OPENING_COUNT = 50;
const ROUND_MAX_MS = 30_000;

const redis = new Redis(process.env.REDIS_URL ?? '', { lazyConnect: true });
let sockets: RawSocket[] = [];
let messageCount = 0;
let sample = '';
/** When each socket had its message of this round; 0: not yet. */
let arrivals: Float64Array = new Float64Array(0);
let arrivedCount = 0;
let onAll: (() => void) | undefined;
let heard: ((payload: string) => void) | undefined;
let failed: Error | undefined;

redis.on('message', (_channel, payload: string) => heard?.(payload));

const arrive = (socket: number, text: Buffer): void => {
  messageCount += 1;
  if (messageCount === 1) sample = text.toString();
  if (arrivals[socket] !== 0) return;
  arrivals[socket] = performance.now();
  arrivedCount += 1;
  if (arrivedCount === arrivals.length) onAll?.();
};

serve({
  /** Connects and subscribes; answers when every socket has its snapshot. */
  async open({ url, socketCount, accounts, channel }: FanPlace): Promise<void> {
    for (const socket of sockets) socket.close();
    sockets = [];
    arrivals = new Float64Array(0);
    await redis.unsubscribe();
    await redis.subscribe(channel);
    const at = new URL(url);
    for (let from = 0; from < socketCount; from += OPENING_COUNT) {
      const many = Array.from({ length: Math.min(OPENING_COUNT, socketCount - from) }, (_, n) => {
        const id = accountId(accounts === 'ONE' ? 0 : from + n);
        const fail = (error: Error): void => {
          failed = error;
        };
        const payload = { query: CHANGED, variables: { id } };
        return openRawSocket(at, payload, (text) => arrive(from + n, text), fail);
      });
      sockets.push(...(await Promise.all(many)));
    }
  },
  /** From here on the next message of each socket counts, from when the news is on the channel. */
  begin(): void {
    arrivals = new Float64Array(sockets.length);
    arrivedCount = 0;
    messageCount = 0;
  },
  /** Waits until every socket has had a message since `begin`. `told`: how the news looks on the channel. */
  async fan({ told }: { readonly told: string }): Promise<FanFigures> {
    let fromMs = 0;
    heard = (payload) => {
      if (fromMs === 0 && payload.includes(told)) fromMs = performance.now();
    };
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${arrivedCount} of ${arrivals.length} came`)), ROUND_MAX_MS);
      onAll = () => {
        clearTimeout(late);
        resolve();
      };
      if (arrivedCount === arrivals.length) onAll();
    });
    heard = undefined;
    if (failed !== undefined) throw failed;
    const latencies = new Latencies();
    for (const at of arrivals) latencies.record(at - fromMs);
    return { p50Ms: latencies.percentileMs(50), p99Ms: latencies.percentileMs(99), messageCount, sample };
  },
  /** Messages since `begin`. */
  count(): number {
    if (failed !== undefined) throw failed;
    return messageCount;
  },
});
