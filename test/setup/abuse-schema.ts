import { abortable, createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { bank } from '../../examples/bank/module.ts';

const SECRET = 'mongodb://root:secret@db/?x';

/** The bank with fields that fail in every way an author's code can, and one whose readers are counted. */
export function abuseSchema() {
  const open = { count: 0 };
  const latch = { release: (): void => undefined, reached: (): void => undefined };
  const builder = createSchemaBuilder();
  exposeModule(builder, bank);
  const fail = (): never => {
    throw new Error(SECRET);
  };
  builder.queryFields((t) => ({
    throws: t.string({ resolve: fail }),
    rejects: t.string({ resolve: async () => fail() }),
    throwsText: t.string({
      resolve: () => {
        throw SECRET;
      },
    }),
    wrongScalar: t.field({ type: 'SafeInt', resolve: () => SECRET as never }),
    missing: t.string({ nullable: false, resolve: () => null as never }),
    /** Answers when the test lets it. */
    slow: t.string({
      resolve: () =>
        new Promise<string>((resolve) => {
          latch.release = () => resolve('done');
          latch.reached();
        }),
    }),
  }));
  builder.subscriptionFields((t) => ({
    refusedSource: t.string({ subscribe: fail, resolve: () => '' }),
    poisoned: t.string({
      subscribe: async function* () {
        yield 'first';
        fail();
      },
      resolve: (value) => String(value),
    }),
    poisonedValue: t.string({
      subscribe: async function* () {
        yield 'first';
      },
      resolve: fail,
    }),
    /** Says its number, then waits for ever. */
    counted: t.int({
      subscribe: (_root, _args, { signal }) =>
        abortable(signal, async function* (aborted) {
          open.count += 1;
          try {
            yield open.count;
            await new Promise<void>((resolve) => {
              aborted.addEventListener('abort', () => resolve(), { once: true });
              if (aborted.aborted) resolve();
            });
          } finally {
            open.count -= 1;
          }
        }),
      resolve: (value) => Number(value),
    }),
  }));
  return { schema: builder.toSchema(), open, latch };
}
