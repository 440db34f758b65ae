/** `npm run schema`: writes schema.graphql, the GraphQL schema of the platform with the bank example. */
import { writeFile } from 'node:fs/promises';
import { printSchema } from 'graphql';
import app from '../examples/bank/app.ts';
import { schemaOf } from '../resolvers/index.ts';

await writeFile('schema.graphql', `${printSchema(app.schema ?? schemaOf(app.modules))}\n`);
