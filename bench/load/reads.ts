import { accountId } from '../lib/append-contender.ts';
import { closedLoop, type LoopFigures } from '../lib/closed-loop.ts';
import { ACCOUNT_COUNT } from '../lib/options.ts';
import { type DoorChoice, type Operation, openDoor } from './door.ts';

/** NONE: no token. KNOWN: tokens that this gateway has waited for before. NEW: tokens that it sees for the first time. */
export interface ReadRound {
  readonly url: string;
  readonly door: DoorChoice;
  readonly tokens: 'NONE' | 'KNOWN' | 'NEW';
  readonly inFlightCount: number;
  readonly durationMs: number;
}

const SEND = `mutation($commands: [CommandEnvelope!]!) {
  sendCommands(commands: $commands) { ... on CommandAccepted { id token } }
}`;
const READ = 'query($id: ID!) { account(id: $id) { balance } }';
const READ_AT_LEAST = 'query($id: ID!, $token: Token) { account(id: $id, atLeast: $token) { balance } }';
/** A gateway remembers fewer: one that it meets again after all others is new to it. */
const TOKEN_COUNT = 6_000;
const KNOWN_COUNT = 1_000;

interface Sent {
  readonly id: string;
  readonly token: string;
}
let sent: readonly Sent[] = [];
let next = 0;

/** Sends what the tokens are of. */
export async function sendForTokens(url: string, door: DoorChoice): Promise<void> {
  const { request, close } = await openDoor(url, door);
  const all: Sent[] = [];
  while (all.length < TOKEN_COUNT) {
    const commands = Array.from({ length: 100 }, (_, n) => ({
      aggregate: 'account',
      id: accountId((all.length + n) % ACCOUNT_COUNT),
      type: 'Deposit',
      input: { amount: 1 },
    }));
    const { data, errors } = await request({ query: SEND, variables: { commands } });
    if (errors !== undefined || data == null) throw new Error(JSON.stringify(errors));
    all.push(...(data.sendCommands as readonly Sent[]));
  }
  sent = all;
  await close();
}

/** Reads of documents, one a request. Every one of them must be there. */
export async function readDocuments(round: ReadRound): Promise<LoopFigures> {
  const door = await openDoor(round.url, round.door);
  const begin = TOKEN_COUNT - KNOWN_COUNT;
  const operation = (): Operation => {
    next = (next + 1) % TOKEN_COUNT;
    const at = round.tokens === 'KNOWN' ? begin + (next % KNOWN_COUNT) : next;
    const { id, token } = sent[at] ?? { id: '', token: '' };
    return round.tokens === 'NONE'
      ? { query: READ, variables: { id } }
      : { query: READ_AT_LEAST, variables: { id, token } };
  };
  const figures = await closedLoop({
    concurrency: round.inFlightCount,
    durationMs: round.durationMs,
    async operation() {
      const { data } = await door.request(operation());
      const found = data?.account;
      if (typeof found !== 'object' || found === null) throw new Error('a document was not there');
    },
  });
  await door.close();
  return figures;
}
