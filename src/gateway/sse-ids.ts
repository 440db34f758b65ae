import { type DocumentNode, type FieldNode, type FragmentDefinitionNode, getOperationAST, Kind } from 'graphql';
import { isAsyncIterable, type Plugin } from 'graphql-yoga';
import type { ServerContext } from './yoga.ts';

/** What may stand in a line of its own. */
const CURSOR = /^[\w.-]+$/;

/**
 * Gives each message of an event stream its cursor as `id:`, where the subscription selects `cursor`: a client that comes
 * back with it as `Last-Event-ID` (an EventSource does by itself) goes on there. Yoga writes `data: <text>` and an empty
 * line; a message may bring its text itself, and this one ends with the line of its id.
 */
export function sseIds(): Plugin<ServerContext> {
  return {
    onSubscribe({ args }) {
      if (args.contextValue.res === undefined) return;
      const place = cursorPlace(args.document as DocumentNode, args.operationName);
      if (place === undefined) return;
      return {
        onSubscribeResult({ result: stream }) {
          if (!isAsyncIterable(stream)) return;
          return {
            onNext({ result, setResult }) {
              if (isAsyncIterable(result)) return;
              const cursor = valueAt(result.data, place);
              if (cursor === undefined) return;
              setResult({
                ...result,
                stringify: (plain: unknown) => `${JSON.stringify(plain)}\nid: ${cursor}`,
              } as never);
            },
          };
        },
      };
    },
  };
}

interface CursorPlace {
  /** Names in the answer: of the subscription's one field, and of its `cursor`. */
  readonly field: string;
  readonly cursors: readonly string[];
}

function cursorPlace(document: DocumentNode, operationName: string | null | undefined): CursorPlace | undefined {
  const operation = getOperationAST(document, operationName);
  if (operation == null) return undefined;
  const fragments = new Map(
    document.definitions.flatMap((one) =>
      one.kind === Kind.FRAGMENT_DEFINITION ? [[one.name.value, one] as const] : [],
    ),
  );
  const [root] = fieldsOf(operation, fragments);
  if (root === undefined) return undefined;
  const cursors = fieldsOf(root, fragments).filter(({ name }) => name.value === 'cursor');
  return cursors.length === 0 ? undefined : { field: nameOf(root), cursors: cursors.map(nameOf) };
}

/** Fields of a selection, those in fragments too. Validation has refused fragments that go round in circles. */
function fieldsOf(
  { selectionSet }: Pick<FieldNode, 'selectionSet'>,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
): FieldNode[] {
  return (selectionSet?.selections ?? []).flatMap((one) => {
    if (one.kind === Kind.FIELD) return [one];
    const inner = one.kind === Kind.INLINE_FRAGMENT ? one : fragments.get(one.name.value);
    return inner === undefined ? [] : fieldsOf(inner, fragments);
  });
}

const nameOf = ({ alias, name }: FieldNode): string => (alias ?? name).value;

/** Skipped by a directive, it is not there. */
function valueAt(data: unknown, { field, cursors }: CursorPlace): string | undefined {
  const message = (data as Readonly<Record<string, unknown>> | null | undefined)?.[field];
  if (typeof message !== 'object' || message === null) return undefined;
  const values = cursors.map((name) => (message as Readonly<Record<string, unknown>>)[name]);
  return values.find((value): value is string => typeof value === 'string' && CURSOR.test(value));
}
