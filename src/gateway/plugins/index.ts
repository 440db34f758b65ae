import { EnvelopArmor } from '@escape.tech/graphql-armor';
import {
  type ExecutionResult,
  GraphQLError,
  NoSchemaIntrospectionCustomRule,
  parse,
  type ValidationContext,
} from 'graphql';
import { isAsyncIterable, type Plugin } from 'graphql-yoga';
import type { ErrorCode } from '../../errors.ts';
import { type ClientErrors, rebuilt } from '../client-errors.ts';
import type { GatewayContext } from '../context.ts';
import { limits } from '../limits.ts';

/**
 * Everything that an operation passes, on every door, in this order. What looks at HTTP only is in ../door.ts.
 *
 * 1. tokens: counted while parsing, before anything can grow
 * 2. armor: depth, aliases, directives and cost, when a document is validated (once, then it is cached)
 * 3. introspection: off in production, on WebSockets too
 * 4. error codes: GraphQL's own errors get a code and, in production, lose their suggestions
 * 5. errors of execution: masked while it is known which operation they belong to
 */
export function plugins(options: { readonly production: boolean; readonly clientError: ClientErrors }): object[] {
  return [
    limitTokens(),
    ...limitDocuments(),
    ...(options.production ? [hideIntrospection()] : []),
    codeErrors(options.clientError),
    maskErrors(options.clientError),
  ];
}

function limitTokens(): Plugin {
  return {
    onParse({ setParseFn }) {
      setParseFn((source, parseOptions) => parse(source, { ...parseOptions, maxTokens: limits.documentMaxTokens }));
    },
  };
}

function limitDocuments(): object[] {
  // Reported, not thrown: a thrown error would pass validation by and lose its code.
  const common = {
    propagateOnRejection: false,
    onReject: [
      (context: ValidationContext | null, error: GraphQLError) =>
        context?.reportError(
          new GraphQLError(error.message.replace(/^Syntax Error: /, ''), {
            extensions: { code: 'QUERY_TOO_COMPLEX' satisfies ErrorCode },
          }),
        ),
    ],
  };
  const armor = new EnvelopArmor({
    maxDepth: { n: limits.documentMaxDepth, ...common },
    maxAliases: { n: limits.documentMaxAliases, ...common },
    maxDirectives: { n: limits.documentMaxDirectives, ...common },
    costLimit: { maxCost: limits.documentMaxCost, ...common },
    maxTokens: { enabled: false },
    blockFieldSuggestion: { enabled: false },
  });
  return armor.protect().plugins;
}

function hideIntrospection(): Plugin {
  return {
    onValidate({ addValidationRule }) {
      addValidationRule(NoSchemaIntrospectionCustomRule);
    },
  };
}

function codeErrors(clientError: ClientErrors): Plugin {
  const coded = (error: GraphQLError, code: ErrorCode): GraphQLError => {
    const shown = clientError(error);
    return rebuilt(shown, shown.message, { ...shown.extensions, code: error.extensions.code ?? code });
  };
  return {
    onParse() {
      return ({ result, replaceParseResult }) => {
        if (result instanceof GraphQLError) replaceParseResult(coded(result, 'GRAPHQL_PARSE_FAILED'));
      };
    },
    onValidate() {
      return ({ valid, result, setResult }) => {
        if (!valid) setResult(result.map((error) => coded(error, 'GRAPHQL_VALIDATION_FAILED')));
      };
    },
  };
}

/** Errors of queries and mutations, and of subscriptions that do not begin. Those of a running one are masked by Yoga. */
function maskErrors(clientError: ClientErrors): Plugin<GatewayContext> {
  type Done = { readonly result: unknown; readonly setResult: (result: ExecutionResult) => void };
  const mask =
    ({ correlationId }: GatewayContext) =>
    ({ result, setResult }: Done): undefined => {
      if (isAsyncIterable(result)) return;
      const { errors, ...rest } = result as ExecutionResult;
      if (errors !== undefined)
        setResult({ ...rest, errors: errors.map((error) => clientError(error, correlationId)) });
    };
  return {
    onExecute: ({ args }) => ({ onExecuteDone: mask(args.contextValue) }),
    onSubscribe: ({ args }) => ({ onSubscribeResult: mask(args.contextValue) }),
  };
}
