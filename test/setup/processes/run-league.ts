/** A worker of the league (test/setup/league.ts), settings from the environment. Prints "ready" when it runs. */
import { readSettings, start } from 'millrace';
import { leagueModule } from '../league.ts';

await start({ modules: [leagueModule()], role: 'worker', settings: readSettings(process.env) });
process.stdout.write('ready\n');
