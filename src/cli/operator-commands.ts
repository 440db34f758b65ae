import type { Command } from 'commander';

/** Runs a command that was loaded when it was asked for, and keeps its exit code. */
export type Keep = (work: () => Promise<number>) => Promise<void>;

const URL = ['--url <url>', 'of its /graphql; default: MILLRACE_URL, or this machine at PORT'] as const;
const JSON_OPTION = ['--json', 'print the answer as JSON'] as const;
const REASON = ['--reason <why>', 'kept in the audit'] as const;

/** `consumers`, `rebuild`, `dead-letters`, `operations`, `audit`: what operators do, through a gateway, as every other client of it could. */
export function addOperatorCommands(program: Command, keep: Keep): void {
  addConsumers(program, keep);
  addDeadLetters(program, keep);
  addOperations(program, keep);
  addRebuilds(program, keep);
  program
    .command('audit')
    .description('What operators did, the newest first: asks a gateway')
    .option('--action <action>', 'e.g. consumer.pause, deadLetter.skip')
    .option('--actor <actor>')
    .option('--target <target>', 'a consumer (name/generation), dead letter or operation')
    .option('--since <time>', 'at or after this time (ISO 8601)')
    .option('--until <time>', 'before this time (ISO 8601)')
    .option('--limit <count>', 'at most so many', '50')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((options) => keep(async () => (await import('./audit-command.ts')).audit(options)));
}

function addConsumers(program: Command, keep: Keep): void {
  const commands = () => import('./consumer-commands.ts');
  const group = program
    .command('consumers')
    .description('Projectors, sagas and observers: how far they are, and controls. Asks a gateway');
  group
    .command('list', { isDefault: true })
    .description('How far each is and what fails')
    .option('--unused', 'also earlier generations, which the modules have no more')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((options) => keep(async () => (await commands()).listConsumers(options)));
  group
    .command('pause <name>')
    .description('Stop running it in all processes')
    .requiredOption(...REASON)
    .option(...URL)
    .option(...JSON_OPTION)
    .action((name: string, options) => keep(async () => (await commands()).pauseConsumer(name, options)));
  group
    .command('resume <name>')
    .description('Go on where it stands')
    .requiredOption(...REASON)
    .option(...URL)
    .option(...JSON_OPTION)
    .action((name: string, options) => keep(async () => (await commands()).resumeConsumer(name, options)));
  group
    .command('reset <name>')
    .description('Move a paused consumer in the log; shows what it does and asks before it does it')
    .requiredOption('--to <place>', 'start, now, a position or a time (ISO 8601)')
    .option('--reason <why>', 'kept in the audit; needed unless --preview')
    .option('--drop-instances', 'sagas: remove all instances')
    .option('--repeat-effects', 'observers: run side effects of the past again')
    .option('--preview', 'only show what it would do')
    .option('--yes', 'do not ask')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((name: string, options) => keep(async () => (await commands()).resetConsumer(name, options)));
  group
    .command('retire <name> <generation>')
    .description('Remove what a generation left behind that no module has any more')
    .requiredOption(...REASON)
    .option('--yes', 'do not ask')
    .option(...URL)
    .action((name: string, generation: string, options) =>
      keep(async () => (await commands()).retireConsumer(name, generation, options)),
    );
}

const filtered = (command: Command): Command =>
  command
    .option('--consumer <name>')
    .option('--key <key>')
    .option('--state <state>', 'retrying or dead')
    .option('--group <fingerprint>', 'those with the error of this group')
    .option('--event-type <type>')
    .option('--correlation <id>')
    .option('--since <time>', 'failed first at or after this time (ISO 8601)')
    .option('--until <time>', 'failed first before this time (ISO 8601)');

function addDeadLetters(program: Command, keep: Keep): void {
  const commands = () => import('./dead-letter-commands.ts');
  const group = program
    .command('dead-letters')
    .description('Events that failed, and what waits behind them. Asks a gateway');
  filtered(group.command('list', { isDefault: true }))
    .description('The one that failed first comes first')
    .option('--limit <count>', 'at most so many', '50')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((options) => keep(async () => (await commands()).listDeadLetters(options)));
  filtered(group.command('groups'))
    .description('By what went wrong, the largest group first')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((options) => keep(async () => (await commands()).listGroups(options)));
  group
    .command('show <id>')
    .description('Event, error with its stack, and the first events that wait behind it')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((id: string, options) => keep(async () => (await commands()).showDeadLetter(id, options)));
  filtered(group.command('preview [id]'))
    .description('What a retry would set in motion; of one also what its handler would do, tried without writing')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((id: string | undefined, options) => keep(async () => (await commands()).previewRetry(id, options)));
  for (const what of ['retry', 'skip'] as const) {
    filtered(group.command(`${what} [id]`))
      .description(
        what === 'retry'
          ? 'Try one again, or all that match; shows progress. Workers do it, whether this waits or not'
          : 'Give up the event of one, or of all that match; the key goes on with what waits behind it',
      )
      .requiredOption(...REASON)
      .option('--all', 'needed where neither an id nor a filter is given')
      .option('--rate <count>', 'keys a second (default: 100)')
      .option('--position <position>', 'of one: only if this still is the event that failed')
      .option('--detach', 'do not wait for the end')
      .option(...URL)
      .option(...JSON_OPTION)
      .action((id: string | undefined, options) => keep(async () => (await commands()).actOn(what, id, options)));
  }
}

function addOperations(program: Command, keep: Keep): void {
  const commands = () => import('./operation-commands.ts');
  const group = program.command('operations').description('Long work that operators started. Asks a gateway');
  group
    .command('list', { isDefault: true })
    .description('The newest first')
    .option('--limit <count>', 'at most so many', '20')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((options) => keep(async () => (await commands()).listOperations(options)));
  group
    .command('follow <id>')
    .description('Shows progress until it is over')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((id: string, options) => keep(async () => (await commands()).followOperation(id, options)));
  group
    .command('stop <id>')
    .description('What was done stays done')
    .requiredOption(...REASON)
    .option(...URL)
    .option(...JSON_OPTION)
    .action((id: string, options) => keep(async () => (await commands()).stopOperation(id, options)));
}

const REBUILD_ACTIONS = {
  swap: 'Let reads go over to the new version now, when it is level and nothing of it waits',
  pause: 'Stop building in all processes',
  resume: 'Go on where it stands',
  abort: 'Remove what was built; it stays so until it is started',
  start: 'Build an aborted one anew',
} as const;

function addRebuilds(program: Command, keep: Keep): void {
  const commands = () => import('./rebuild-commands.ts');
  const group = program
    .command('rebuild')
    .description('New versions of projectors, built beside those that are read. Asks a gateway');
  group
    .command('list', { isDefault: true })
    .description('How far each is and what it waits for')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((options) => keep(async () => (await commands()).listRebuilds(options)));
  group
    .command('watch <projector>')
    .description('Shows progress until it is read, or somebody has to act')
    .option('--generation <number>', 'of this one; waits until a process with that code has begun it')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((projector: string, options) => keep(async () => (await commands()).watchRebuild(projector, options)));
  group
    .command('diff <projector>')
    .description('Compare it with the version that is read, document by document; exit code 1 when they differ')
    .option(...URL)
    .option(...JSON_OPTION)
    .action((projector: string, options) => keep(async () => (await commands()).diffRebuild(projector, options)));
  for (const action of ['swap', 'pause', 'resume', 'abort', 'start'] as const) {
    group
      .command(`${action} <projector>`)
      .description(REBUILD_ACTIONS[action])
      .requiredOption(...REASON)
      .option(...URL)
      .option(...JSON_OPTION)
      .action((projector: string, options) =>
        keep(async () => (await commands()).actOnRebuild(action, projector, options)),
      );
  }
}
