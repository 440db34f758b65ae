/**
 * Acceptance: 200 subscriptions, opened one after the other over both gateways in the middle of 1,000 writes a second, end equal
 * to the read model; versions only rise, none begins again.
 *
 *     node --conditions=millrace-source --import tsx test/acceptance/opened-under-load.ts [SUBSCRIPTIONS] [PER_SECOND] [SECONDS]
 *
 * One in ten watches the list of all accounts, the others an account each, over the stock graphql-ws client.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { ResumingClient } from '../setup/resuming-clients.ts';
import { post } from '../setup/role-processes.ts';
import { until } from '../setup/until.ts';
import { atRate, onStage, type Stage } from './stage.ts';

const SUBSCRIPTIONS = Number(process.argv[2] ?? 200);
const PER_SECOND = Number(process.argv[3] ?? 1_000);
const SECONDS = Number(process.argv[4] ?? 20);
const BATCH = 50;
const SEND = 'mutation($commands: [CommandEnvelope!]!) { sendCommands(commands: $commands) { __typename } }';

async function play(stage: Stage): Promise<void> {
  const ids = [...stage.sums.keys()];
  const sums = new Map(stage.sums);
  const clients: ResumingClient[] = [];
  const over = new AbortController();
  let sent = 0;
  const begun = performance.now();
  const writing = atRate(PER_SECOND / BATCH, over.signal, async (n) => {
    const commands = Array.from({ length: BATCH }, () => {
      const id = ids[sent++ % ids.length] ?? '';
      sums.set(id, (sums.get(id) ?? 0) + 1);
      return { aggregate: 'account', id, type: 'Deposit', input: { amount: 1 }, commandId: randomUUID() };
    });
    const { sendCommands } = await post<{ sendCommands: { readonly __typename: string }[] }>(
      stage.ports[n % stage.ports.length] ?? 0,
      SEND,
      { commands },
    );
    if (sendCommands.some(({ __typename }) => __typename !== 'CommandAccepted')) throw new Error('a write was refused');
  });
  try {
    await wait(1_000);
    for (let n = 0; n < SUBSCRIPTIONS; n++) {
      const watched =
        n % 10 === 0 ? { kind: 'list' as const } : { kind: 'document' as const, id: ids[n % ids.length] ?? '' };
      clients.push(new ResumingClient(watched, { ports: stage.ports, turn: n }));
      await wait((SECONDS * 1_000) / SUBSCRIPTIONS);
    }
    over.abort();
    await writing;
    const perSecond = Math.round((sent * 1_000) / (performance.now() - begun));
    const ended = performance.now();
    const wrong = () =>
      clients.filter(({ watched, balances }) => {
        const expected = watched.kind === 'document' ? [watched.id] : ids;
        return expected.some((id) => balances.get(id) !== sums.get(id));
      });
    await until('every subscription has what was written', () => wrong().length === 0 || undefined, {
      timeoutMs: 60_000,
      seen: () => wrong().length,
    });
    const levelMs = Math.round(performance.now() - ended);
    const rows = await stage.connection.db
      .collection<{ _id: string; balance: number }>('view_account_g1')
      .find()
      .toArray();
    const unlike = rows.filter(({ _id, balance }) => sums.get(_id) !== balance);
    if (unlike.length > 0)
      throw new Error(`the read model is not what was written: ${JSON.stringify(unlike.slice(0, 3))}`);
    const problems = clients.flatMap((one) => one.problems);
    const gaps = clients.flatMap((one) => one.gaps);
    const messages = clients.reduce((sum, { messageCount }) => sum + messageCount, 0);
    console.log(
      `${SUBSCRIPTIONS} subscriptions opened within ${SECONDS} s at ${perSecond} writes/s: all equal to the read model ` +
        `${levelMs} ms after the last write; ${messages} messages, ${gaps.length} GAPs, ${problems.length} problems`,
    );
    if (problems.length > 0 || gaps.length > 0) throw new Error(JSON.stringify([...problems, ...gaps].slice(0, 5)));
  } finally {
    over.abort();
    for (const client of clients) await client.end();
  }
}

await onStage(play);
