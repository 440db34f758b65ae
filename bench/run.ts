import { writeFile } from 'node:fs/promises';
import { MongoClient } from 'mongodb';
import { describeMachine } from './lib/machine.ts';
import { type Bench, readOptions } from './lib/options.ts';
import { cpuTable, type Group, table } from './lib/report.ts';
import { resultsPage } from './lib/results-page.ts';
import { getServers } from './lib/servers.ts';
import { append } from './rows/append.ts';
import { delivery } from './rows/delivery.ts';
import { endToEnd } from './rows/end-to-end.ts';
import { http } from './rows/http.ts';
import { load } from './rows/load.ts';
import { log } from './rows/log.ts';
import { memory } from './rows/memory.ts';
import { reads } from './rows/reads.ts';
import { realtime } from './rows/realtime.ts';
import { resume } from './rows/resume.ts';
import { timers } from './rows/timers.ts';

/** Row families in the order of the table; `--only` takes these names. */
const FAMILIES: Readonly<Record<string, (bench: Bench) => Promise<Group[]>>> = {
  append,
  load,
  http,
  reads,
  flow: endToEnd,
  realtime,
  resume,
  log,
  delivery,
  timers,
  memory,
};

const options = readOptions(process.argv.slice(2)) ?? process.exit(0);
const unknown = [...(options.only ?? [])].filter((name) => !Object.hasOwn(FAMILIES, name));
if (unknown.length > 0) throw new Error(`--only takes ${Object.keys(FAMILIES).join(', ')}; not ${unknown.join(', ')}`);

const servers = getServers();
const prefix = `bench${Date.now().toString(36)}`;
const bench: Bench = {
  options,
  mongodbUrl: servers.mongodbUrl,
  redisUrl: servers.redisUrl,
  unique: (name) => `${prefix}_${name}`,
  say: (text) => console.error(text),
};
const groups: Group[] = [];
try {
  for (const [name, family] of Object.entries(FAMILIES)) {
    if (options.only === undefined || options.only.has(name)) groups.push(...(await family(bench)));
  }
  const page = resultsPage(await describeMachine(bench), options, table(groups), cpuTable(groups));
  console.log(`\n${table(groups)}\n\n${cpuTable(groups)}\n`);
  if (options.only === undefined && !options.quick) await writeFile(new URL('RESULTS.md', import.meta.url), page);
} finally {
  await dropDatabases(servers.mongodbUrl);
}

async function dropDatabases(url: string): Promise<void> {
  const client = await new MongoClient(url).connect();
  const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true });
  for (const { name } of databases) if (name.startsWith(prefix)) await client.db(name).dropDatabase();
  await client.close();
}
