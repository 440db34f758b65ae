import type {
  CommandAccepted,
  CommandConflict,
  CommandInvalid,
  CommandOutcome,
  CommandQueued,
  CommandRejected,
  Issue,
} from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { eventType } from './event-type.ts';
import { claim, once } from './registry.ts';

/** The union that every command answers with: what happened to it is data, never a GraphQL error. */
export function outcomeType(builder: MillraceBuilder) {
  const names = ['Outcome', 'Accepted', 'Queued', 'Rejected', 'Conflict'].map((name) => `Command${name}`);
  for (const name of [...names, 'InvalidInput']) {
    claim(builder, `type ${name}`, 'a type of the platform');
  }
  const members = {
    accepted: once(builder, acceptedReceiptType),
    queued: once(builder, queuedReceiptType),
    rejected: rejectedType(builder),
    conflict: conflictType(builder),
    invalid: invalidType(builder),
  } as const;
  return builder.unionType('CommandOutcome', {
    description: 'What became of a command.',
    types: [members.accepted, members.queued, members.rejected, members.conflict, members.invalid],
    resolveType: (outcome: CommandOutcome) => members[outcome.kind],
  });
}

/** Views add a field `view` to it. */
export function acceptedReceiptType(builder: MillraceBuilder) {
  const event = once(builder, eventType);
  return builder.objectRef<CommandAccepted>('CommandAccepted').implement({
    description: 'The receipt: what the command caused is stored and cannot be lost.',
    fields: (t) => ({
      commandId: t.exposeID('commandId', { nullable: false }),
      correlationId: t.exposeID('correlationId', { nullable: false }),
      streamId: t.exposeID('streamId', { nullable: false }),
      id: t.exposeID('id', { nullable: false, description: 'Id of the aggregate instance.' }),
      version: t.exposeInt('version', {
        nullable: true,
        description: 'Version of the stream after the command; null when the command caused no event.',
      }),
      duplicate: t.exposeBoolean('duplicate', {
        nullable: false,
        description: 'True when this is the receipt of an earlier try with the same commandId.',
      }),
      token: t.expose('token', { type: 'Token', nullable: false }),
      events: t.field({ type: [event], nullable: { list: false, items: false }, resolve: (parent) => parent.events }),
      behind: t.stringList({
        nullable: { list: false, items: false },
        description:
          'Inline views (`mode` of their projectors) that did not show the command yet when it was answered; it is accepted all the same. Empty in receipts that are looked up later.',
        resolve: (parent) => [...parent.behind],
      }),
    }),
  });
}

/** Views add a field `view` to it. */
export function queuedReceiptType(builder: MillraceBuilder) {
  return builder.objectRef<CommandQueued>('CommandQueued').implement({
    description: 'Stored, and certain to be carried out by a worker; `commandStatus` tells what becomes of it.',
    fields: (t) => ({
      commandId: t.exposeID('commandId', { nullable: false }),
      correlationId: t.exposeID('correlationId', { nullable: false }),
      id: t.exposeID('id', {
        nullable: false,
        description: 'Id of the aggregate instance; of a service, the commandId.',
      }),
      token: t.expose('token', {
        type: 'Token',
        nullable: false,
        description: 'Names the command. Reads with `atLeast` wait until it was carried out and applied.',
      }),
    }),
  });
}

function rejectedType(builder: MillraceBuilder) {
  return builder.objectRef<CommandRejected>('CommandRejected').implement({
    description: 'Refused by a rule; nothing happened.',
    fields: (t) => ({
      commandId: t.exposeID('commandId', { nullable: false }),
      code: t.exposeString('code', { nullable: false }),
      reason: t.exposeString('reason', { nullable: false }),
    }),
  });
}

function conflictType(builder: MillraceBuilder) {
  const event = once(builder, eventType);
  return builder.objectRef<CommandConflict>('CommandConflict').implement({
    description: 'The stream is not at `expectedVersion`; nothing happened.',
    fields: (t) => ({
      commandId: t.exposeID('commandId', { nullable: false }),
      expected: t.exposeInt('expected', { nullable: false }),
      actual: t.exposeInt('actual', { nullable: false }),
      missedEvents: t.field({
        type: [event],
        nullable: { list: false, items: false },
        description: 'Events after `expected`, oldest first, at most 100.',
        resolve: (parent) => parent.missedEvents,
      }),
    }),
  });
}

export function issueType(builder: MillraceBuilder) {
  claim(builder, 'type InputIssue', 'a type of the platform');
  return builder.objectRef<Issue>('InputIssue').implement({
    fields: (t) => ({
      path: t.stringList({
        nullable: { list: false, items: false },
        description: 'Keys and indexes from the root of the input.',
        resolve: (parent) => parent.path.map(String),
      }),
      message: t.exposeString('message', { nullable: false }),
    }),
  });
}

function invalidType(builder: MillraceBuilder) {
  const issue = once(builder, issueType);
  return builder.objectRef<CommandInvalid>('InvalidInput').implement({
    description: 'The data is wrong; nothing happened.',
    fields: (t) => ({
      commandId: t.exposeID('commandId', { nullable: true }),
      issues: t.field({ type: [issue], nullable: { list: false, items: false }, resolve: (parent) => parent.issues }),
    }),
  });
}
