import type { AuditDocument } from '../../store/documents.ts';
import { newId } from '../concurrency/new-id.ts';
import type { OperatorCall } from '../contract/operators.ts';

/** What an operator does, to be written together with it. `at`: now, unless it is given. */
export function auditEntry(
  logId: string,
  { actor, reason }: OperatorCall,
  did: Pick<AuditDocument, 'action' | 'target' | 'before' | 'after'> & { readonly at?: Date },
): AuditDocument {
  const { action, target, before, after, at = new Date() } = did;
  return { _id: newId(), logId, at, action, actor, reason, target, before, after };
}
