import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import type { Outcome } from '../harness/bank-clients.ts';
import { expectAtMost, expectEqual, type Fault } from '../harness/fault.ts';
import type { Stage } from '../harness/stage.ts';

const SAME = 100;
const SAME_MAX_MS = 2_000;
const WRITERS = 50;
const RETRIES_MAX = 10;

const OUTCOME =
  '{ __typename ... on CommandAccepted { commandId version token events { id } } ... on CommandRejected { code } ... on CommandConflict { actual } }';
const DEPOSIT = `mutation($id: ID!, $commandId: ID!, $amount: SafeInt!, $expectedVersion: Int) {
  outcome: deposit(id: $id, commandId: $commandId, expectedVersion: $expectedVersion, input: { amount: $amount }) ${OUTCOME}
}`;

/** A client of each gateway over WebSocket. */
function sockets(ports: readonly number[]) {
  const clients = ports.map((port) =>
    createClient({ url: `ws://127.0.0.1:${port}/graphql`, webSocketImpl: WebSocket, lazy: false }),
  );
  const ask = async (turn: number, variables: Record<string, unknown>): Promise<Outcome> => {
    const client = clients[turn % clients.length];
    if (client === undefined) throw new Error('no gateway');
    for await (const { data, errors } of client.iterate<{ outcome: Outcome }>({ query: DEPOSIT, variables })) {
      if (errors !== undefined || data == null) throw new Error(JSON.stringify(errors));
      return data.outcome;
    }
    throw new Error('no answer');
  };
  return { ask, end: () => Promise.all(clients.map((client) => client.dispose())) };
}

export const sameKey: Fault = {
  id: 'F16',
  title: '100 commands with one commandId at once, over HTTP and WebSocket, two gateways',
  target: '1 event, 100 identical results, another payload is IDEMPOTENCY_CONFLICT; < 2 s',
  profiles: ['production'],
  async run(stage) {
    await stage.populate({ gateways: 2, workers: 1, accounts: 1 });
    const operation = await stage.clients.command(0, 'deposit', 'a0', 1);
    const before = operation.version ?? 0;
    const socket = sockets(stage.ports);
    const variables = { id: 'a0', commandId: randomUUID(), amount: 7 };
    const begun = performance.now();
    const answers = await Promise.all(
      Array.from({ length: SAME }, (_, turn) =>
        turn % 2 === 0
          ? stage.clients.ask<{ outcome: Outcome }>(turn >> 1, DEPOSIT, variables).then(({ outcome }) => outcome)
          : socket.ask(turn >> 1, variables),
      ),
    );
    const tookMs = Math.round(performance.now() - begun);
    expectEqual('different results', new Set(answers.map((answer) => JSON.stringify(answer))).size, 1);
    expectEqual('version', answers[0]?.version, before + 1);
    const other = await Promise.all([
      stage.clients.ask<{ outcome: Outcome }>(0, DEPOSIT, { ...variables, amount: 8 }).then(({ outcome }) => outcome),
      socket.ask(1, { ...variables, amount: 9 }),
    ]);
    for (const { code } of other) expectEqual('the same id with another payload', code, 'IDEMPOTENCY_CONFLICT');
    await socket.end();
    note(stage, begun, variables.commandId, answers[0], 7);
    await stage.drained(10_000);
    expectAtMost('100 answers in ms', tookMs, SAME_MAX_MS);
    return { 'identical results': answers.length, effects: 1, 'all answered ms': tookMs };
  },
};

/** What was sent beside the clients is in their history too: checkers believe nothing else. */
function note(stage: Stage, invokedMs: number, commandId: string, answer: Outcome | undefined, amount: number): void {
  stage.history.operations.push({
    ...{ client: 0, commandId, kind: 'deposit', account: 'a0', amount, invokedMs, tries: 1 },
    ...{ endedMs: performance.now(), outcome: 'ok', version: answer?.version ?? 0 },
    eventIds: (answer?.events ?? []).map(({ id }) => id),
  });
}

export const hotStream: Fault = {
  id: 'F17',
  title: '50 writers on one account, each expects the version that it knows and tries again',
  target: 'versions 1 … n without gaps; every writer succeeds; < 10 retries a commit',
  profiles: ['production'],
  async run(stage, size) {
    await stage.populate({ gateways: 2, workers: 1, accounts: 1 });
    const each = size === 'brief' ? 2 : 6;
    let conflicts = 0;
    let newest = 1;
    const begun = performance.now();
    const writer = async (_: unknown, index: number): Promise<void> => {
      for (let n = 0; n < each; n++) {
        const commandId = randomUUID();
        for (;;) {
          const expectedVersion = newest;
          const invokedMs = performance.now();
          const variables = { id: 'a0', commandId, amount: 1, expectedVersion };
          const { outcome } = await stage.clients.ask<{ outcome: Outcome & { readonly actual?: number } }>(
            index,
            DEPOSIT,
            variables,
          );
          if (outcome.__typename === 'CommandAccepted') {
            newest = Math.max(newest, outcome.version ?? 0);
            note(stage, invokedMs, commandId, outcome, 1);
            break;
          }
          expectEqual('answer', outcome.__typename, 'CommandConflict');
          conflicts++;
          newest = Math.max(newest, outcome.actual ?? 0);
          await wait(stage.random.below(WRITERS * 4));
        }
      }
    };
    await Promise.all(Array.from({ length: WRITERS }, writer));
    const tookMs = performance.now() - begun;
    await stage.drained(10_000);
    const commits = WRITERS * each;
    expectAtMost('retries for each commit', conflicts / commits, RETRIES_MAX);
    return {
      writers: WRITERS,
      commits,
      'retries a commit': Math.round((conflicts / commits) * 100) / 100,
      'commits a second': Math.round((commits * 1_000) / tookMs),
    };
  },
};
