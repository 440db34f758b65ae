import { Command, CommanderError } from 'commander';
import { isMillraceError } from '../errors.ts';
import { addOperatorCommands } from './operator-commands.ts';

/**
 * The `millrace` command. Answers with the exit code and leaves ending the process to its caller (only a second signal
 * during `start` ends it from inside).
 */
export async function runCli(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = new Command('millrace')
    .description('Event sourcing with a GraphQL face. Settings come from the environment: see docs/operations.md.')
    .exitOverride()
    .showHelpAfterError('(millrace --help shows what there is)');
  program
    .command('start')
    .description('Start gateway, workers or both; runs until SIGINT or SIGTERM')
    .option('--role <role>', 'all, gateway or worker', 'all')
    .option('--app <file>', 'module that exports an app by default (default: millrace.config.{js,mjs,ts})')
    .option('--port <port>', 'port of the gateway; overrides PORT')
    .action(async (options) => {
      const { start } = await import('./start-command.ts');
      exitCode = await start(options);
    });
  program
    .command('verify')
    .description('Compare all commits with the log; reads only, may run beside live traffic')
    .option('--json', 'print the report as JSON')
    .action(async (options) => {
      const { verify } = await import('./verify-command.ts');
      exitCode = await verify(options);
    });
  program
    .command('flow <correlationId>')
    .description('What a correlation id set in motion, as a tree: asks a gateway')
    .option('--url <url>', 'of its /graphql; default: MILLRACE_URL, or this machine at PORT')
    .option('--wait <seconds>', 'until it is settled, at most so long; the exit code tells')
    .option('--json', 'print it as JSON')
    .action(async (correlationId: string, options) => {
      const { flow } = await import('./flow-command.ts');
      exitCode = await flow(correlationId, options);
    });
  program
    .command('timers')
    .description('What is due at a time: timers of sagas, delayed commands, schedules; reads only')
    .option('--kind <kind>', 'saga, schedule or command')
    .option('--consumer <name>', 'of this saga; of commands: of this aggregate or service')
    .option('--due-before <time>', 'due before this time (ISO 8601)')
    .option('--limit <count>', 'at most so many (default: 50)')
    .option('--json', 'print them as JSON')
    .action(async (options) => {
      const { timers } = await import('./timers-command.ts');
      exitCode = await timers(options);
    });
  addOperatorCommands(program, async (work) => {
    exitCode = await work();
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    // Expected causes are told without a stack; it would only hide the cure.
    process.stderr.write(isMillraceError(error) ? `${error.code}: ${error.message}\n` : `${describe(error)}\n`);
    return 1;
  }
}

const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));
