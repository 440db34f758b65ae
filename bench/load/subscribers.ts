import type { Operation } from './door.ts';
import { connectWs, type WsClient } from './ws-client.ts';

export interface SubscriberRound {
  readonly url: string;
  readonly ids: readonly string[];
  /** Subscriptions on one socket. */
  readonly perSocketCount: number;
}

const CHANGED = `subscription Changed($id: ID!) {
  accountChanged(id: $id) { signal cursor id node { balance } version origins }
}`;
const changedOperation = (id: string): Operation => ({ query: CHANGED, variables: { id } });

/** One account as a subscriber sees it; `balance` is undefined where the account has no document. */
export interface AccountPush {
  readonly signal: string;
  readonly balance: number | undefined;
}

/** Subscribes to every account; resolves when each has had its first message. Returns how to leave. */
export async function subscribeAccounts(
  round: SubscriberRound,
  onPush: (id: string, push: AccountPush) => void,
  onFail: (error: Error) => void,
): Promise<() => Promise<void>> {
  const clients: WsClient[] = [];
  for (let from = 0; from < round.ids.length; from += round.perSocketCount) {
    const client = await connectWs(round.url);
    clients.push(client);
    const firsts = round.ids.slice(from, from + round.perSocketCount).map(
      (id) =>
        new Promise<void>((resolve, reject) => {
          client.start(changedOperation(id), {
            next(result) {
              if (result.errors !== undefined) return this.fail(new Error(JSON.stringify(result.errors)));
              onPush(id, parsePush(result.data?.accountChanged));
              resolve();
            },
            fail(error) {
              reject(error);
              onFail(error);
            },
          });
        }),
    );
    await Promise.all(firsts);
  }
  return async () => {
    await Promise.all(clients.map((client) => client.close()));
  };
}

function parsePush(change: unknown): AccountPush {
  const { signal, node } = change as { signal: string; node: { balance: number } | null };
  return { signal, balance: node?.balance };
}

/** Idle subscribers for the memory row. */
export function holdSubscribers(round: SubscriberRound): Promise<() => Promise<void>> {
  return subscribeAccounts(
    round,
    () => undefined,
    (error) => console.error(error),
  );
}
