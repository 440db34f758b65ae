import { type CommandAccepted, type CommandQueued, MillraceError } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { acceptedReceiptType, queuedReceiptType } from './outcomes.ts';
import { claim, once } from './registry.ts';

/** What the fields of `ReceiptViews` read with. */
export interface AfterCommand {
  readonly id: string;
  readonly token: string;
  readonly timeoutMs: number | null | undefined;
}

/**
 * The type of a receipt's `view`, to which every view adds a field of its own; made with the first of them, because GraphQL has
 * no empty types.
 */
export function receiptViewsType(builder: MillraceBuilder) {
  claim(builder, 'type ReceiptViews', 'a type of the platform');
  const ref = builder.objectRef<AfterCommand>('ReceiptViews').implement({
    description: 'Documents as they are once a command is applied, never older.',
  });
  const args = builder.args((t) => ({
    timeoutMs: t.int({
      description: 'How long each document may be waited for, 60,000 at most; default AT_LEAST_TIMEOUT_MS.',
    }),
  }));
  const about =
    'Documents as this command left them, or newer: each field waits for its view like a read with `atLeast: token`. ' +
    'One that is not there in time is null with the error VIEW_BEHIND; the receipt is true all the same.';
  builder.objectField(once(builder, acceptedReceiptType), 'view', (t) =>
    t.field({
      type: ref,
      nullable: true,
      args,
      description: `${about} A view that takes nothing from the command's events is read at once. Not after a dry run (BAD_INPUT).`,
      resolve: (receipt, { timeoutMs }) => afterCommand(receipt, timeoutMs),
    }),
  );
  builder.objectField(once(builder, queuedReceiptType), 'view', (t) =>
    t.field({
      type: ref,
      nullable: true,
      args,
      description: `${about} Waits until a worker has carried it out, too; when it was refused or cancelled, documents are as they are then.`,
      resolve: (receipt, { timeoutMs }) => afterCommand(receipt, timeoutMs),
    }),
  );
  return ref;
}

function afterCommand(receipt: CommandAccepted | CommandQueued, timeoutMs: number | null | undefined): AfterCommand {
  if (receipt.kind === 'accepted' && receipt.dryRun === true) {
    throw new MillraceError(
      'BAD_INPUT',
      'A dry run writes nothing, so no view will ever show it. Leave out `view`, or `dryRun`.',
    );
  }
  return { id: receipt.id, token: receipt.token, timeoutMs };
}
