import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  createSourceEventStream,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  type GraphQLSchema,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import { type ClientErrors, plainError } from './client-errors.ts';

/** The operation of a client, and how its messages are sent. */
export interface Subscriber {
  /** What its client calls the operation. */
  readonly id: string;
  readonly push: (text: string) => void;
  /** Resolves when its client has read enough of what was sent; undefined when it has. */
  readonly room: () => Promise<void> | undefined;
}

export interface SharedSubscriptions {
  /**
   * The subscription of an operation whose messages depend on what is delivered and on nothing else of the client: they are made
   * once, whoever gets them, and sent by this. Undefined for other operations. What it iterates over gives nothing and ends
   * with the subscription, or throws what its source throws.
   */
  subscribe(
    args: ExecutionArgs,
    subscriber: Subscriber,
  ): Promise<AsyncIterableIterator<never> | ExecutionResult> | undefined;
}

/** The text of a message, or what is still being executed for it. */
type Made = string | Promise<ExecutionResult>;

/** How many are under way to a client is bounded by `room`. After so many of one subscription it is the turn of others. */
const BURST_COUNT = 32;

/**
 * Equal subscriptions share work: a delivery that many of them get is executed and written once for each document and
 * variables. Fields, or their types, say by their extension
 * `sharedResult` that they look at their parent only; an author's field does not, and an operation with one of them is executed for each client.
 */
export function createSharedSubscriptions(clientError: ClientErrors): SharedSubscriptions {
  const kinds = new WeakMap<DocumentNode, DocumentKind & { readonly number: number }>();
  const texts = new WeakMap<object, Map<string, Made>>();
  let documentCount = 0;

  const kindOf = ({ schema, document }: ExecutionArgs) => {
    const known = kinds.get(document);
    if (known !== undefined) return known;
    documentCount += 1;
    const kind = { ...kindOfDocument(schema, document), number: documentCount };
    kinds.set(document, kind);
    return kind;
  };
  const remember = (delivered: unknown, key: string, made: Made): void => {
    if (typeof delivered !== 'object' || delivered === null) return;
    const known = texts.get(delivered);
    if (known === undefined) texts.set(delivered, new Map([[key, made]]));
    else known.set(key, made);
  };
  const write = (result: ExecutionResult): string =>
    JSON.stringify(
      // Each client gets an id of its own for an error.
      result.errors ? { ...result, errors: result.errors.map((error) => plainError(clientError(error))) } : result,
    );
  const finish = (delivered: unknown, key: string, result: ExecutionResult): string => {
    const text = write(result);
    if (result.errors === undefined) remember(delivered, key, text);
    return text;
  };
  /** What is sent of a delivery, but for the id of its operation. Thousands may ask in one turn: the first one's work is theirs. */
  const textOf = (args: ExecutionArgs, key: string, delivered: unknown): Promise<string> | string => {
    const made = typeof delivered === 'object' && delivered !== null ? texts.get(delivered)?.get(key) : undefined;
    if (typeof made === 'string') return made;
    if (made !== undefined) return made.then(write);
    const result = execute({ ...args, rootValue: delivered });
    if (!(result instanceof Promise)) return finish(delivered, key, result);
    remember(delivered, key, result);
    return result.then((all) => finish(delivered, key, all));
  };
  const begin = async (args: ExecutionArgs, key: string, { id, push, room }: Subscriber) => {
    const source = await createSourceEventStream(args);
    if (!(Symbol.asyncIterator in source)) {
      return { ...source, ...(source.errors && { errors: source.errors.map((error) => clientError(error) as never) }) };
    }
    const deliveries = source[Symbol.asyncIterator]();
    const head = `{"id":${JSON.stringify(id)},"type":"next","payload":`;
    const done = { done: true, value: undefined } as const;
    let burst = 0;
    const iterator: AsyncIterableIterator<never> = {
      async next() {
        for (;;) {
          // Nothing is taken for a client that is behind: its changes are merged meanwhile, its log is read on later.
          const wait = room();
          if (wait !== undefined) await wait;
          try {
            const delivery = await deliveries.next();
            if (delivery.done === true) return done;
            const text = textOf(args, key, delivery.value);
            push(`${head}${typeof text === 'string' ? text : await text}}`);
            burst = (burst + 1) % BURST_COUNT;
            if (burst === 0) await nextTurn();
          } catch (error) {
            // Who iterates over this does not call `return` after it threw.
            await deliveries.return?.();
            throw error;
          }
        }
      },
      async return() {
        await deliveries.return?.();
        return done;
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
    return iterator;
  };
  return {
    subscribe(args, subscriber) {
      const { shareable, byVariables, number } = kindOf(args);
      if (!shareable) return undefined;
      const variables = byVariables ? JSON.stringify(args.variableValues ?? null) : '';
      return begin(args, `${number} ${args.operationName ?? ''} ${variables}`, subscriber);
    },
  };
}

interface DocumentKind {
  readonly shareable: boolean;
  /** Arguments are for the source alone; variables of directives choose fields. */
  readonly byVariables: boolean;
}

/** Looks at all fields of the document, whichever of its operations is meant. */
function kindOfDocument(schema: GraphQLSchema, document: DocumentNode): DocumentKind {
  let [shareable, byVariables] = [true, false];
  const types = new TypeInfo(schema);
  visit(
    document,
    visitWithTypeInfo(types, {
      Field(node) {
        const field = types.getFieldDef();
        const own = field?.name === '__typename' || field?.extensions.sharedResult === true;
        if (!own && types.getParentType()?.extensions.sharedResult !== true) shareable = false;
        if (node.arguments?.length !== 0 && types.getParentType() !== schema.getSubscriptionType()) byVariables = true;
      },
      Directive() {
        byVariables = true;
      },
    }),
  );
  return { shareable, byVariables };
}
