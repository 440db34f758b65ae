/** One account as the client knows it. */
export interface Row {
  readonly id: string;
  readonly owner: string;
  readonly balance: number;
  /** What moved it last, in minor units. */
  readonly change: number;
  /** Counts the pushes that reached this client. */
  readonly pushes: number;
}

export interface Totals {
  readonly accepted: number;
  readonly refused: number;
  /** From sending a command to the push that shows it, in milliseconds: the middle one and the slowest in a hundred. */
  readonly pushMs: { readonly p50: number; readonly p99: number } | undefined;
}

export interface Screen {
  show(rows: readonly Row[], totals: Totals): void;
  /** Something worth a line: a refusal, a lost connection. */
  note(text: string): void;
  close(): void;
}

const money = (minor: number): string => (minor / 100).toFixed(2);
const signed = (minor: number): string => (minor === 0 ? '' : minor > 0 ? `+${money(minor)}` : money(minor));

/** A table that is drawn in place at a terminal, a line a change anywhere else. */
export function openScreen(out: NodeJS.WriteStream): Screen {
  return out.isTTY ? table(out) : lines(out);
}

function table(out: NodeJS.WriteStream): Screen {
  let drawn = 0;
  let notes: readonly string[] = [];
  const dim = (text: string) => `\u001b[2m${text}\u001b[0m`;
  const coloured = (change: number, text: string) =>
    change < 0 ? `\u001b[31m${text}\u001b[0m` : `\u001b[32m${text}\u001b[0m`;
  out.write('\u001b[?25l');
  return {
    show(rows, totals) {
      const text = [
        dim(
          `${'account'.padEnd(38)}${'owner'.padEnd(10)}${'balance'.padStart(12)}${'last'.padStart(11)}${'pushes'.padStart(8)}`,
        ),
        ...rows.map(
          ({ id, owner, balance, change, pushes }) =>
            `${id.padEnd(38)}${owner.padEnd(10)}${money(balance).padStart(12)}${coloured(change, signed(change).padStart(11))}${String(pushes).padStart(8)}`,
        ),
        dim(summary(totals)),
        // A line that wraps would be two lines to erase.
        ...notes.map((note) => dim(note.slice(0, (out.columns || 80) - 1))),
      ];
      const up = drawn > 0 ? `\u001b[${drawn}A` : '';
      out.write(`${up}${text.map((line) => `\u001b[2K${line}\n`).join('')}\u001b[0J`);
      drawn = text.length;
    },
    note(text) {
      notes = [...notes, text].slice(-3);
    },
    close: () => out.write('\u001b[?25h'),
  };
}

function lines(out: NodeJS.WriteStream): Screen {
  const seen = new Map<string, number>();
  return {
    show(rows) {
      for (const { id, owner, balance, change, pushes } of rows) {
        if (seen.get(id) === pushes) continue;
        seen.set(id, pushes);
        out.write(`${id} ${owner} ${money(balance)} ${signed(change)}`.trimEnd().concat('\n'));
      }
    },
    note: (text) => out.write(`${text}\n`),
    close: () => undefined,
  };
}

export function summary({ accepted, refused, pushMs }: Totals): string {
  const speed = pushMs === undefined ? '' : `; mutation to push ${pushMs.p50} ms (p50), ${pushMs.p99} ms (p99)`;
  return `${accepted} movements, ${refused} refused${speed}`;
}
