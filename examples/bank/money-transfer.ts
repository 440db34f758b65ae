import { command, saga } from 'millrace';
import { account } from './account.ts';
import { transfer } from './transfer.ts';

interface Moving {
  readonly from: string;
  readonly to: string;
  readonly amount: number;
  readonly step: 'ASKED' | 'DEBITED' | 'REFUNDING';
  /** Why the money goes back, or will as soon as it has left. */
  readonly failed: string | undefined;
}

/** A transfer whose money has not left its account by then is called off. */
const DEADLINE_MS = 30_000;

const nothing: Moving = { from: '', to: '', amount: 0, step: 'ASKED', failed: undefined };

/**
 * Carries a transfer out: debit, credit, done. A debit that is refused ends it; a credit that is refused, or a debit that comes after
 * the deadline, sends the money back. Money is never in two places and never nowhere.
 */
export const moneyTransfer = saga({
  name: 'moneyTransfer',
  description: 'Debits one account and credits the other, or sends the money back',
  from: [transfer, account],
  key: (event) =>
    event.type === 'TransferRequested'
      ? event.stream.id
      : 'transferId' in event.data
        ? event.data.transferId
        : undefined,
  starts: ['TransferRequested'],
  startFrom: 'start',
  initial: () => nothing,
  on: {
    TransferRequested: (_state, { data }, { id }) => ({
      state: { ...data, step: 'ASKED', failed: undefined },
      send: [command(account, data.from, { type: 'DebitForTransfer', data: { transferId: id, amount: data.amount } })],
      timers: { deadline: { afterMs: DEADLINE_MS } },
    }),
    TransferDebited: (state, _event, { id }) =>
      state.failed === undefined
        ? {
            state: { ...state, step: 'DEBITED' },
            send: [
              command(account, state.to, { type: 'CreditForTransfer', data: { transferId: id, amount: state.amount } }),
            ],
            timers: { deadline: 'cancel' },
          }
        : refund(state, id, state.failed),
    TransferCredited: (state, { data }, { id }) => ({
      send: [
        data.refund
          ? command(transfer, id, { type: 'FailTransfer', data: { reason: state.failed ?? 'refunded' } })
          : command(transfer, id, { type: 'CompleteTransfer', data: {} }),
      ],
      end: true,
    }),
  },
  onTimer: {
    // The debit may be under way: it is only noted here, and the money goes back when it has left.
    deadline: (state) => ({ state: { ...state, failed: `not debited within ${DEADLINE_MS / 1_000} s` } }),
  },
  onRejected: (state, { type, code, reason }, { id }) => {
    const why = `${code}: ${reason}`;
    if (type === 'DebitForTransfer') {
      return { send: [command(transfer, id, { type: 'FailTransfer', data: { reason: why } })], end: true };
    }
    return type === 'CreditForTransfer' && state.step === 'DEBITED' ? refund(state, id, why) : undefined;
  },
});

const refund = (state: Moving, transferId: string, failed: string) => ({
  state: { ...state, step: 'REFUNDING' as const, failed },
  send: [
    command(account, state.from, {
      type: 'CreditForTransfer',
      data: { transferId, amount: state.amount, refund: true },
    }),
  ],
});
