import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/** One command of one client, from its first try to its answer. Times are `performance.now()`. */
export interface Operation {
  readonly client: number;
  readonly commandId: string;
  readonly kind: 'open' | 'deposit' | 'withdraw' | 'transfer' | 'charge';
  /** The aggregate instance: an account, or the transfer or the charge itself. */
  readonly account: string;
  /** Of a transfer: where the money comes from and goes to. */
  readonly between?: readonly [string, string];
  readonly amount: number;
  /** Of a charge: the account that gets the money, and when it is to be made. */
  readonly to?: string;
  readonly sendAt?: string;
  readonly invokedMs: number;
  endedMs?: number;
  /** `info`: the client gave up without an answer, so it may have happened or not. Undefined: still under way. */
  outcome?: 'ok' | 'fail' | 'info';
  tries: number;
  /** Of an `ok`. */
  version?: number;
  eventIds?: readonly string[];
  token?: string;
  /** Of a `fail`. */
  code?: string;
}

/** A read that had to hold what a command wrote. */
export interface Read {
  readonly account: string;
  readonly atLeastVersion: number;
  readonly balance: number | null;
}

/** What every client of a run did and was told: the one thing that checkers believe. Kept in a file too, line by line. */
export class History {
  readonly operations: Operation[] = [];
  readonly reads: Read[] = [];
  /** Errors that tries met, by code. */
  readonly errorCounts = new Map<string, number>();
  readonly file: string;

  constructor(file: string) {
    this.file = file;
    mkdirSync(dirname(file), { recursive: true });
  }

  invoke(operation: Operation): void {
    this.operations.push(operation);
    const { client, commandId, kind, account, amount } = operation;
    this.#line({ type: 'invoke', client, commandId, kind, account, amount });
  }

  end(operation: Operation): void {
    operation.endedMs = performance.now();
    const { client, commandId, outcome, version, code, tries } = operation;
    this.#line({ type: outcome, client, commandId, version, code, tries });
  }

  read(read: Read): void {
    this.reads.push(read);
    this.#line({ type: 'read', ...read });
  }

  failedTry(code: string): void {
    this.errorCounts.set(code, (this.errorCounts.get(code) ?? 0) + 1);
  }

  of(outcome: 'ok' | 'fail' | 'info'): readonly Operation[] {
    return this.operations.filter((operation) => operation.outcome === outcome);
  }

  #line(record: object): void {
    appendFileSync(this.file, `${JSON.stringify({ atMs: Math.round(performance.now()), ...record })}\n`);
  }
}
