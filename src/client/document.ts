import type { SelectionSetNode } from 'graphql';
import { type DocumentNode, type FieldNode, Kind, type OperationDefinitionNode, parse, print } from 'graphql';
import { MillraceClientError } from './client-error.ts';

/**
 * A document that knows what it answers and takes: TypedDocumentNode (gql.tada, GraphQL Code Generator), or its string
 * form. Types only; the property does not exist.
 */
export interface TypedDocument<TData, TVariables> {
  __apiType?: (variables: TVariables) => TData;
}
/** Text, a parsed document, or one with types. */
export type Document<TData, TVariables> = string | DocumentNode | TypedDocument<TData, TVariables>;

/** What the client knows of an operation, read once from its document. */
export interface ReadDocument {
  readonly text: string;
  readonly kind: 'query' | 'mutation' | 'subscription';
  readonly operationName: string | undefined;
  /** Names of the declared variables. */
  readonly variables: ReadonlySet<string>;
  /** Response key of the first field that is not `__typename`. */
  readonly root: string;
  /** Names of the arguments that it is given. */
  readonly rootArguments: ReadonlySet<string>;
  /** Response keys selected in it, fragments included. */
  readonly selected: ReadonlySet<string>;
}

const byText = new Map<string, ReadDocument>();
const KEPT_MAX_COUNT = 500;

/** Throws BAD_DOCUMENT where it cannot be read. */
export function readDocument(document: unknown, operationName?: string): ReadDocument {
  const text = textOf(document);
  const key = `${operationName ?? ''}\n${text}`;
  const known = byText.get(key);
  if (known !== undefined) return known;
  const read = analyse(text, operationName);
  if (byText.size >= KEPT_MAX_COUNT) byText.clear();
  byText.set(key, read);
  return read;
}

const texts = new WeakMap<object, string>();

function textOf(document: unknown): string {
  if (typeof document === 'string') return document;
  if (typeof document !== 'object' || document === null) throw badDocument('it is neither text nor a document');
  // The string form of typed documents is a String object with types.
  if (document instanceof String) return document.toString();
  const known = texts.get(document);
  if (known !== undefined) return known;
  if (!('kind' in document) || document.kind !== Kind.DOCUMENT) throw badDocument('it is no parsed GraphQL document');
  const text = print(document as DocumentNode);
  texts.set(document, text);
  return text;
}

function analyse(text: string, operationName: string | undefined): ReadDocument {
  const { definitions } = parsed(text);
  const operations = definitions.filter(
    (one): one is OperationDefinitionNode => one.kind === Kind.OPERATION_DEFINITION,
  );
  const named =
    operationName === undefined ? operations : operations.filter(({ name }) => name?.value === operationName);
  const [operation] = named;
  if (operation === undefined || named.length > 1) {
    throw badDocument(
      operationName === undefined
        ? `it has ${operations.length} operations; name one in "operationName"`
        : `it has no operation "${operationName}"`,
    );
  }
  const fragments = new Map(
    definitions.flatMap((one) => (one.kind === Kind.FRAGMENT_DEFINITION ? [[one.name.value, one.selectionSet]] : [])),
  );
  const fields = fieldsOf(operation.selectionSet, fragments);
  const root = fields.find(({ name }) => name.value !== '__typename') ?? fields[0];
  if (root === undefined) throw badDocument('it selects nothing');
  const selected = root.selectionSet === undefined ? [] : fieldsOf(root.selectionSet, fragments);
  return {
    text,
    kind: operation.operation,
    operationName: operation.name?.value,
    variables: new Set(operation.variableDefinitions?.map(({ variable }) => variable.name.value)),
    root: responseKey(root),
    rootArguments: new Set(root.arguments?.map(({ name }) => name.value)),
    selected: new Set(selected.map(responseKey)),
  };
}

function parsed(text: string): DocumentNode {
  try {
    return parse(text, { noLocation: true });
  } catch (error) {
    throw badDocument(error instanceof Error ? error.message : String(error));
  }
}

const responseKey = ({ alias, name }: FieldNode): string => alias?.value ?? name.value;

function fieldsOf(
  { selections }: SelectionSetNode,
  fragments: ReadonlyMap<string, SelectionSetNode>,
  within: readonly string[] = [],
): FieldNode[] {
  return selections.flatMap((selection): FieldNode[] => {
    if (selection.kind === Kind.FIELD) return [selection];
    if (selection.kind === Kind.INLINE_FRAGMENT) return fieldsOf(selection.selectionSet, fragments, within);
    const name = selection.name.value;
    const fragment = fragments.get(name);
    return fragment === undefined || within.includes(name) ? [] : fieldsOf(fragment, fragments, [...within, name]);
  });
}

const badDocument = (why: string): MillraceClientError =>
  new MillraceClientError('BAD_DOCUMENT', `The document cannot be used: ${why}.`);
