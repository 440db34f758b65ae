import { EnvelopArmor } from '@escape.tech/graphql-armor';
import { GraphQLError, NoSchemaIntrospectionCustomRule, parse, type ValidationContext } from 'graphql';
import type { Plugin } from 'graphql-yoga';
import type { ErrorCode } from '../../errors.ts';
import { type ClientErrors, rebuilt } from '../client-errors.ts';
import { limits } from '../limits.ts';

/**
 * Everything that an operation passes, on every door, in this order. What looks at HTTP only is in ../door.ts.
 *
 * 1. tokens: counted while parsing, before anything can grow
 * 2. armor: depth, aliases, directives and cost, when a document is validated (once, then it is cached)
 * 3. introspection: off in production, on WebSockets too
 * 4. error codes: GraphQL's own errors get a code and, in production, lose their suggestions
 */
export function plugins(options: { readonly production: boolean; readonly clientError: ClientErrors }): object[] {
  return [
    limitTokens(),
    ...limitDocuments(),
    ...(options.production ? [hideIntrospection()] : []),
    codeErrors(options.clientError),
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
