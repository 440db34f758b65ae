import type { AuditEntry, AuditFilter } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { connectionOf, pageArguments, pageInput } from './connections.ts';
import { claim, once } from './registry.ts';
import { timeOf } from './times.ts';

const platform = 'a type of the platform';

/** What operators did (`Query.audit`). */
export function exposeAudit(builder: MillraceBuilder): true {
  const connection = connectionOf(builder, 'AuditEntry', once(builder, auditEntryType), platform);
  claim(builder, 'type AuditFilter', platform);
  const filter = builder.inputType('AuditFilter', {
    description: 'All that is given must hold.',
    fields: (t) => ({
      action: t.string({ description: 'For example "consumer.pause" or "deadLetter.skip".' }),
      actor: t.string(),
      target: t.id({ description: 'A consumer ("name/generation"), dead letter or operation.' }),
      since: t.field({ type: 'DateTime' }),
      until: t.field({ type: 'DateTime' }),
    }),
  });
  claim(builder, 'Query.audit', 'a field of the platform');
  builder.queryField('audit', (t) =>
    t.field({
      type: connection,
      nullable: false,
      description: 'What operators did, the newest first. Written together with what it tells of.',
      args: { filter: t.arg({ type: filter }), ...pageArguments(builder) },
      resolve: (_root, args, context) =>
        context.runtime.operators.audit(filterInput(args.filter), pageInput(args, context)),
    }),
  );
  return true;
}

interface GivenFilter extends Omit<AuditFilter, 'since' | 'until'> {
  readonly since?: string | null | undefined;
  readonly until?: string | null | undefined;
}

function filterInput(given: GivenFilter | null | undefined): AuditFilter {
  const { since, until, ...rest } = given ?? {};
  return { ...rest, since: timeOf('filter.since', since), until: timeOf('filter.until', until) };
}

function auditEntryType(builder: MillraceBuilder) {
  claim(builder, 'type AuditEntry', platform);
  return builder.objectRef<AuditEntry>('AuditEntry').implement({
    description: 'Something that an operator did.',
    fields: (t) => ({
      id: t.exposeID('id', { nullable: false }),
      at: t.expose('at', { type: 'DateTime', nullable: false }),
      action: t.exposeString('action', { nullable: false }),
      actor: t.exposeString('actor', { nullable: true, description: 'Null: nobody was asked who it is.' }),
      reason: t.exposeString('reason', { nullable: false }),
      target: t.exposeID('target', { nullable: false }),
      before: t.field({ type: 'JSON', nullable: true, resolve: ({ before }) => before }),
      after: t.field({ type: 'JSON', nullable: true, resolve: ({ after }) => after }),
    }),
  });
}
