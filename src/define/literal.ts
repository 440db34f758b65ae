/**
 * The types of handlers (in aggregate.ts, projector.ts and query.ts) are conditional types whose condition always holds.
 * This is on purpose: without it, literals in what a handler returns widen ('open' to string), and authors would have to
 * write `as const`.
 * - TypeScript fills what it has inferred so far into a deferred type before it looks into a handler; into a plain
 *   function type only afterwards.
 * - A handler without parameters is looked into before anything is inferred. Its context is then the union of both
 *   branches, and this type, in the branch that is never taken, says that literals are wanted.
 */
export type Literal = '' | 0 | true | readonly Literal[] | { readonly [field: string]: Literal };
