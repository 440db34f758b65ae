import type { GraphQLSchema } from 'graphql';
import type { AggregateModel, CommandModel, Model } from '../define/model.ts';
import { type JsonSchema, jsonSchemaOf, parse } from '../define/schema.ts';

/** A line for a terminal that works when it is pasted: a command that creates something, or a query if there is none. */
export function sampleRequest(url: string, model: Model, schema: GraphQLSchema): string {
  const body = sampleMutation(model, schema) ?? { query: '{ __typename }' };
  const json = JSON.stringify(body).replaceAll("'", "'\\''");
  return `curl -s ${url} -H 'content-type: application/json' -d '${json}'`;
}

function sampleMutation(model: Model, schema: GraphQLSchema): object | undefined {
  const fields = schema.getMutationType()?.getFields() ?? {};
  const commands = [...model.aggregates.values()].flatMap((aggregate) =>
    [...aggregate.commands.values()].filter(({ creates }) => creates).map((command) => ({ aggregate, command })),
  );
  for (const { aggregate, command } of commands) {
    const name = command.type.slice(0, 1).toLowerCase() + command.type.slice(1);
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    const type = field?.args.find((argument) => argument.name === 'input')?.type;
    const input = sampleInput(aggregate, command);
    if (type === undefined || input === undefined) continue;
    const answer =
      '__typename ... on CommandAccepted { id version token } ... on InvalidInput { issues { path message } }';
    return {
      query: `mutation($input: ${String(type)}) { ${name}(input: $input) { ${answer} } }`,
      variables: { input },
    };
  }
  return undefined;
}

/** Data that the command's own schema accepts, or undefined when guessing does not reach that. */
function sampleInput(aggregate: AggregateModel, { type, schema }: CommandModel): unknown {
  try {
    const sample = sampleOf(jsonSchemaOf(schema, 'input', `aggregate "${aggregate.name}", command "${type}"`), 'input');
    return parse(schema, sample).ok ? sample : undefined;
  } catch {
    return undefined;
  }
}

function sampleOf(schema: unknown, name: string): unknown {
  if (!isRecord(schema)) return null;
  if (Array.isArray(schema.enum)) return schema.enum[0];
  if ('const' in schema) return schema.const;
  if (Array.isArray(schema.examples)) return schema.examples[0];
  if (Array.isArray(schema.anyOf)) return sampleOf(schema.anyOf[0], name);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case 'string':
      return sampleText(schema, name);
    case 'integer':
    case 'number':
      return typeof schema.minimum === 'number' && schema.minimum > 1 ? schema.minimum : 1;
    case 'boolean':
      return true;
    case 'array':
      return [];
    case 'object':
      return sampleObject(schema);
    default:
      return null;
  }
}

function sampleObject({ properties, required }: JsonSchema): Record<string, unknown> {
  const wanted = new Set(Array.isArray(required) ? required : []);
  const known = Object.entries(isRecord(properties) ? properties : {});
  return Object.fromEntries(known.flatMap(([key, value]) => (wanted.has(key) ? [[key, sampleOf(value, key)]] : [])));
}

function sampleText({ format, minLength }: JsonSchema, name: string): string {
  if (format === 'email') return 'ada@example.com';
  if (format === 'date-time') return '2026-01-01T00:00:00.000Z';
  if (format === 'uuid') return '0192d3a0-0000-7000-8000-000000000000';
  if (/owner|name/i.test(name)) return 'Ada';
  return name.padEnd(typeof minLength === 'number' ? minLength : 0, 'x');
}

const isRecord = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
