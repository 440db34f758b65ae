import { aggregate, buildModel, module } from 'millrace';
import { schemaOf } from 'millrace/graphql';
import { expect, test } from 'vitest';
import { z } from 'zod';
import app from '../../examples/bank/app.ts';
import { sampleRequest } from '../../src/cli/sample-request.ts';

const url = 'http://127.0.0.1:4000/graphql';

test('the bank is tried by opening an account', () => {
  expect(sampleRequest(url, buildModel(app.modules), app.schema!)).toBe(
    `curl -s ${url} -H 'content-type: application/json' -d '{"query":"mutation($input: OpenAccountInput!) { openAccount(input: $input) { __typename ... on CommandAccepted { id version token } ... on InvalidInput { issues { path message } } } }","variables":{"input":{"owner":"Ada","currency":"EUR"}}}'`,
  );
});

test('where no data can be guessed, a query that always works is shown', () => {
  const odd = module({
    name: 'odd',
    parts: [
      aggregate({
        name: 'odd',
        events: { Done: z.object({}) },
        commands: { Do: z.object({ code: z.string().regex(/^Q\d{7}$/) }) },
        creates: ['Do'],
        initial: () => null,
        evolve: { Done: () => null },
        decide: { Do: () => [] },
      }),
    ],
  });
  expect(sampleRequest(url, buildModel([odd]), schemaOf([odd]))).toBe(
    `curl -s ${url} -H 'content-type: application/json' -d '{"query":"{ __typename }"}'`,
  );
});
