import type { Model } from '../../define/model.ts';
import type { AnyQuery, ListOptions, Reader, ViewReader } from '../../define/query.ts';
import { describeIssues, parse } from '../../define/schema.ts';
import type { Doc, View } from '../../define/view.ts';
import { MillraceError } from '../../errors.ts';
import type { FilterInput, SortInput, ViewRecord } from '../contract/runtime.ts';
import { rebuilding } from '../views/rebuilding.ts';
import { isOperator, type Operator } from '../views/view-filter.ts';
import type { ViewHandles } from '../views/view-handles.ts';
import { listOf, type Ready, type ViewReads } from './read-view.ts';

/**
 * Runs a query over views. `ready` is asked at each read, so only views that the query reads are waited for. Throws
 * UNKNOWN_QUERY, BAD_INPUT with `issues`, QUERY_OUTPUT_INVALID (VIEW_BEHIND with reason REBUILDING where it read an older version of a
 * view), and what its reads throw.
 */
export async function runQuery(
  deps: { readonly model: Model; readonly views: ViewHandles; readonly reads: ViewReads },
  name: string,
  input: unknown,
  ready: Ready,
): Promise<unknown> {
  const query = deps.model.queries.get(name);
  if (query === undefined)
    throw new MillraceError('UNKNOWN_QUERY', `There is no query "${String(name).slice(0, 100)}".`);
  const parsed = parse(query.input, input);
  if (!parsed.ok) {
    throw new MillraceError('BAD_INPUT', `Query "${name}": ${describeIssues(parsed.issues)}`, {
      details: { issues: parsed.issues },
    });
  }
  const older = new Set<string>();
  const answer = await run(query, parsed.value, createReader(deps, ready, older));
  const output = parse(query.output, answer);
  if (output.ok) return output.value;
  const why = describeIssues(output.issues);
  if (older.size > 0) {
    throw rebuilding(
      `Query "${name}" answers what its output schema does not take (${why}), from ${[...older].join(', ')}`,
    );
  }
  throw new MillraceError(
    'QUERY_OUTPUT_INVALID',
    `Query "${name}" answers what its output schema does not take: ${why}. Mend \`run\` or \`output\`.`,
    { details: { issues: output.issues } },
  );
}

/** The input was parsed by the query's own schema; `never` is what AnyQuery asks for. */
const run = (query: AnyQuery, input: unknown, read: Reader): Promise<unknown> => query.run(input as never, read);

/** `older`: names of views are added of which an older version is read. */
function createReader(
  deps: { readonly views: ViewHandles; readonly reads: ViewReads },
  ready: Ready,
  older: Set<string>,
): Reader {
  return <V extends View>(of: V): ViewReader<Doc<V>> => {
    const view = deps.views.get(of.name);
    if (!view.isOwn) older.add(of.name);
    // Documents were checked by the view's schema when they were written.
    const typed = (record: ViewRecord): Doc<V> => record.document as Doc<V>;
    return {
      get: async (id) => {
        const record = await deps.reads.document(view, id, ready);
        return record === undefined ? undefined : typed(record);
      },
      list: async (options: Loose = {}) => {
        const query = { filter: filterOf(options.filter), sort: sortOf(options.sort), limit: options.limit };
        return (await listOf(deps.reads, view, query, ready)).map(typed);
      },
    };
  };
}

type Loose = ListOptions<Readonly<Record<string, unknown>>>;

/** An author's filter: a bare value means equality, an object of operators means them. */
function filterOf(filter: Loose['filter']): FilterInput {
  return new Map(
    Object.entries(filter ?? {}).map(([field, condition]) => {
      if (condition === undefined) throw undefinedIn(`Filter on "${field}"`);
      const operators: [Operator, unknown][] = operatorsOf(condition) ?? [['eq', condition]];
      for (const [operator, value] of operators) {
        if (value === undefined) throw undefinedIn(`Filter on "${field}", "${operator}"`);
      }
      return [field, new Map(operators)];
    }),
  );
}

function operatorsOf(condition: unknown): [Operator, unknown][] | undefined {
  if (typeof condition !== 'object' || condition === null || condition instanceof Date || Array.isArray(condition))
    return undefined;
  const entries = Object.entries(condition);
  return entries.flatMap(([name, value]): [Operator, unknown][] => {
    if (isOperator(name)) return [[name, value]];
    throw new MillraceError('BAD_INPUT', `"${name.slice(0, 40)}" is not an operator of a filter.`);
  });
}

/** Leaving a condition out would widen the answer in silence. */
const undefinedIn = (place: string): MillraceError =>
  new MillraceError('BAD_INPUT', `${place} is undefined. Leave the field out instead.`);

function sortOf(sort: Loose['sort']): readonly SortInput[] {
  return Object.entries(sort ?? {}).map(([field, direction]) => {
    if (direction === undefined) throw undefinedIn(`Sort by "${field}"`);
    return { field, direction };
  });
}
