import { setMaxListeners } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import type { History, Operation } from './history.ts';
import type { Random } from './random.ts';

/** A try may take so long before the client goes to another gateway. */
const TRY_MAX_MS = 15_000;
/** A client that got no answer for so long gives up: the outcome is `info`. */
const PATIENCE_MS = 60_000;
const RETRY_MS = 50;
/** Of commands: each becomes four more, and events of three streams. */
const TRANSFER_SHARE = 0.1;
/** The half of them is sent for later. */
const CHARGE_SHARE = 0.04;

const ACCEPTED =
  '__typename ... on CommandAccepted { version token duplicate events { id } } ... on CommandRejected { code }';
const OPEN = `mutation($id: ID!, $commandId: ID!) { outcome: openAccount(id: $id, commandId: $commandId, input: { owner: "Ada", currency: EUR }) { ${ACCEPTED} } }`;
const moving = (field: string): string =>
  `mutation($id: ID!, $commandId: ID!, $amount: SafeInt!) { outcome: ${field}(id: $id, commandId: $commandId, input: { amount: $amount }) { ${ACCEPTED} } }`;
const TRANSFER = `mutation($id: ID!, $commandId: ID!, $amount: SafeInt!, $from: String!, $to: String!) { outcome: requestTransfer(id: $id, commandId: $commandId, input: { from: $from, to: $to, amount: $amount }) { ${ACCEPTED} } }`;
const CHARGE = `mutation($commandId: ID!, $account: String!, $card: String!, $amount: SafeInt!, $sendAt: DateTime) { outcome: chargeCard(commandId: $commandId, sendAt: $sendAt, input: { accountId: $account, card: $card, amount: $amount }) { ${ACCEPTED} } }`;
const QUERIES = {
  open: OPEN,
  deposit: moving('deposit'),
  withdraw: moving('withdraw'),
  transfer: TRANSFER,
  charge: CHARGE,
} as const;
const READ = 'query($id: ID!, $token: Token) { account(id: $id, atLeast: $token) { balance } }';

/** What the bank answers to a command. */
export interface Outcome {
  readonly __typename: string;
  readonly version?: number;
  readonly token?: string;
  readonly duplicate?: boolean;
  readonly events?: readonly { readonly id: string }[];
  readonly code?: string;
}

export interface BankOptions {
  readonly history: History;
  readonly random: Random;
  /** Of the gateways; looked at before each try. */
  readonly ports: () => readonly number[];
}

/** Clients as they should be: each command under an id of its own that is sent again, anywhere, until there is an answer. */
export class BankClients {
  readonly accounts: string[] = [];
  readonly #options: BankOptions;
  #commandCount = 0;

  constructor(options: BankOptions) {
    this.#options = options;
  }

  async open(count: number): Promise<void> {
    const ids = Array.from({ length: count }, (_, i) => `a${this.accounts.length + i}`);
    this.accounts.push(...ids);
    await Promise.all(ids.map((account, client) => this.command(client, 'open', account, 0)));
  }

  /** Sends one command until it is answered. Never throws. */
  command(client: number, kind: Operation['kind'], account: string, amount: number): Promise<Operation> {
    return this.#carryOut({ client, commandId: this.#newId(), kind, account, amount });
  }

  /** Orders a transfer; the saga moves the money. */
  transfer(client: number, from: string, to: string, amount: number): Promise<Operation> {
    const commandId = this.#newId();
    return this.#carryOut({
      client,
      commandId,
      kind: 'transfer',
      account: `t-${commandId}`,
      amount,
      between: [from, to],
    });
  }

  /** Money from a card: a service charges it, a saga pays it in. With `delayMs` not before then. */
  charge(client: number, account: string, amount: number, delayMs?: number): Promise<Operation> {
    const commandId = this.#newId();
    const sendAt = delayMs === undefined ? undefined : new Date(Date.now() + delayMs).toISOString();
    const wish = { client, commandId, kind: 'charge', account: `card-${commandId}`, amount } as const;
    return this.#carryOut({ ...wish, to: account, ...(sendAt !== undefined && { sendAt }) });
  }

  #newId(): string {
    return `c${this.#options.random.seed}-${++this.#commandCount}`;
  }

  async #carryOut(
    wish: Pick<Operation, 'client' | 'commandId' | 'kind' | 'account' | 'amount' | 'between' | 'to' | 'sendAt'>,
  ): Promise<Operation> {
    const { history } = this.#options;
    const { client } = wish;
    const operation: Operation = { ...wish, invokedMs: performance.now(), tries: 0 };
    history.invoke(operation);
    const giveUpMs = performance.now() + PATIENCE_MS;
    while (operation.outcome === undefined) {
      const outcome = await this.#tryOnce(operation, client + operation.tries).catch((error: unknown) => {
        history.failedTry(codeOf(error));
        return undefined;
      });
      if (outcome !== undefined) settle(operation, outcome);
      else if (performance.now() > giveUpMs) operation.outcome = 'info';
      else await wait(RETRY_MS);
    }
    history.end(operation);
    return operation;
  }

  /** Deposits and withdrawals of `clientCount` clients at once, each one after the other; until `signal`. */
  async run(options: {
    readonly clientCount: number;
    readonly signal: AbortSignal;
    /** Of all clients together; default: as fast as they go. */
    readonly perSecond?: number;
    /** Of answered commands that are followed by a read of what they wrote; default 0.05. */
    readonly readShare?: number;
  }): Promise<void> {
    const { random } = this.#options;
    const { clientCount, signal, perSecond, readShare = 0.05 } = options;
    setMaxListeners(0, signal);
    const everyMs = perSecond === undefined ? 0 : (clientCount * 1_000) / perSecond;
    const client = async (_: unknown, index: number): Promise<void> => {
      let dueMs = performance.now() + random.next() * everyMs;
      while (!signal.aborted) {
        await wait(Math.max(0, dueMs - performance.now()), undefined, { signal }).catch(() => undefined);
        if (signal.aborted) return;
        dueMs = Math.max(dueMs + everyMs, performance.now() - 1_000);
        const operation = await this.randomCommand(index);
        if (random.next() < readShare) await this.read(operation, index);
      }
    };
    await Promise.all(Array.from({ length: clientCount }, client));
  }

  /** `count` commands by `clientCount` clients. */
  async send(count: number, clientCount = 16, readShare = 0.05): Promise<void> {
    const { random } = this.#options;
    let left = count;
    const client = async (_: unknown, index: number): Promise<void> => {
      while (left-- > 0) {
        const operation = await this.randomCommand(index);
        if (random.next() < readShare) await this.read(operation, index);
      }
    };
    await Promise.all(Array.from({ length: clientCount }, client));
  }

  randomCommand(client: number): Promise<Operation> {
    const { random } = this.#options;
    const amount = 1 + random.below(9);
    const [from, to] = [random.pick(this.accounts), random.pick(this.accounts)];
    const dice = random.next();
    if (dice < TRANSFER_SHARE && from !== to) return this.transfer(client, from, to, amount);
    if (dice < TRANSFER_SHARE + CHARGE_SHARE) return this.charge(client, from, amount, dice < 0.12 ? 300 : undefined);
    return this.command(client, dice < 0.75 ? 'deposit' : 'withdraw', from, amount);
  }

  /** A read that must hold what the command wrote; an error (the view is behind) says nothing wrong. */
  async read({ kind, account, token, version, outcome }: Operation, client: number): Promise<void> {
    if (kind === 'transfer' || kind === 'charge' || outcome !== 'ok' || token === undefined || version === undefined)
      return;
    try {
      const { account: found } = await this.ask<{ account: { balance: number } | null }>(client, READ, {
        id: account,
        token,
      });
      this.#options.history.read({ account, atLeastVersion: version, balance: found?.balance ?? null });
    } catch (error) {
      this.#options.history.failedTry(`read ${codeOf(error)}`);
    }
  }

  /** The answer to an operation that was answered before: by the same commandId. */
  repeat(operation: Operation): Promise<Outcome> {
    return this.#tryOnce(operation, operation.client);
  }

  async #tryOnce(operation: Operation, turn: number): Promise<Outcome> {
    operation.tries++;
    return (await this.ask<{ outcome: Outcome }>(turn, QUERIES[operation.kind], variablesOf(operation))).outcome;
  }

  async ask<Data>(turn: number, query: string, variables: object): Promise<Data> {
    const ports = this.#options.ports();
    const port = ports[turn % ports.length] ?? 0;
    const response = await fetch(`http://127.0.0.1:${port}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables }),
      signal: AbortSignal.timeout(TRY_MAX_MS),
    });
    const { data, errors } = await response.json();
    if (errors !== undefined) throw new AnswerError(errors);
    return data;
  }
}

/** GraphQL errors; what a client may do about them is in their code. */
export class AnswerError extends Error {
  readonly code: string;

  constructor(errors: readonly { readonly message: string; readonly extensions?: { readonly code?: string } }[]) {
    super(errors.map(({ message }) => message).join('; '));
    this.code = errors[0]?.extensions?.code ?? 'NO_CODE';
  }
}

function codeOf(error: unknown): string {
  if (error instanceof AnswerError) return error.code;
  const cause = error instanceof Error ? error.cause : undefined;
  if (typeof cause === 'object' && cause !== null && 'code' in cause) return String(cause.code);
  return error instanceof Error ? error.name : String(error);
}

/** A card of its own for each charge (two charges of one card wait for each other) that is not declined. */
const cardOf = (commandId: string): string => `4${commandId.replace(/\D/g, '').slice(-14).padStart(14, '0')}1`;

function variablesOf({ kind, account, commandId, amount, between, to, sendAt }: Operation): object {
  switch (kind) {
    case 'open':
      return { id: account, commandId };
    case 'deposit':
    case 'withdraw':
      return { id: account, commandId, amount };
    case 'transfer':
      return { id: account, commandId, amount, from: between?.[0], to: between?.[1] };
    case 'charge':
      return { commandId, amount, account: to, card: cardOf(commandId), sendAt };
  }
}

function settle(operation: Operation, outcome: Outcome): void {
  if (outcome.__typename === 'CommandQueued') operation.outcome = 'ok';
  else if (outcome.__typename === 'CommandAccepted') {
    operation.outcome = 'ok';
    if (outcome.version !== undefined && outcome.version !== null) operation.version = outcome.version;
    if (outcome.token !== undefined) operation.token = outcome.token;
    operation.eventIds = (outcome.events ?? []).map(({ id }) => id);
  } else {
    operation.outcome = 'fail';
    operation.code = outcome.code ?? outcome.__typename;
  }
}
