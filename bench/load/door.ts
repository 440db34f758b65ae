import { openHttpDoor } from './http-door.ts';
import { openWsDoor } from './ws-door.ts';

export interface Operation {
  readonly query: string;
  readonly variables: Readonly<Record<string, unknown>>;
}
export interface OperationResult {
  readonly data?: Readonly<Record<string, unknown>> | null;
  readonly errors?: readonly unknown[];
}

/** A way in for mutations: the same operations over HTTP or over graphql-ws. */
export interface Door {
  request(operation: Operation): Promise<OperationResult>;
  close(): Promise<void>;
}

export interface DoorChoice {
  readonly kind: 'http' | 'ws';
  /** Keep-alive connections or sockets. */
  readonly connectionCount: number;
}

export function openDoor(url: string, choice: DoorChoice): Promise<Door> {
  return choice.kind === 'http'
    ? openHttpDoor(new URL(url), choice.connectionCount)
    : openWsDoor(url, choice.connectionCount);
}

const DEPOSIT = `mutation Deposit($id: ID!, $input: DepositInput!, $commandId: ID) {
  deposit(id: $id, input: $input, commandId: $commandId) {
    __typename
    ... on CommandAccepted { commandId streamId version duplicate token }
  }
}`;

export const depositOperation = (id: string, amount: number, commandId: string): Operation => ({
  query: DEPOSIT,
  variables: { id, input: { amount }, commandId },
});

/** The version of the stream after an accepted deposit. Throws on any other answer. */
export function acceptedVersion(result: OperationResult): number {
  const outcome = result.data?.deposit;
  if (typeof outcome === 'object' && outcome !== null && 'version' in outcome && typeof outcome.version === 'number') {
    return outcome.version;
  }
  throw new Error(`a deposit was not accepted: ${JSON.stringify(result)}`);
}
