/** `npm run example:types`: graphql-env.d.ts, from which gql.tada infers the types of documents. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { minifyIntrospection, outputIntrospectionFile } from '@gql.tada/internal';
import { buildSchema, introspectionFromSchema } from 'graphql';

const folder = import.meta.dirname;
const schema = buildSchema(await readFile(join(folder, '../../schema.graphql'), 'utf8'));
// What `gql.tada generate output` does; its command line needs the API of TypeScript 5 or 6.
const introspection = minifyIntrospection(introspectionFromSchema(schema));
await writeFile(join(folder, 'graphql-env.d.ts'), outputIntrospectionFile(introspection, { fileType: '.d.ts' }));
