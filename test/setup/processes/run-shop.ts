/** A worker of the shop (test/setup/shop.ts), settings from the environment. Prints "ready" when it runs. */
import { readSettings, start } from 'millrace';
import { shopModule } from '../shop.ts';

const { module } = shopModule({ startFrom: 'start' });
await start({ modules: [module], role: 'worker', settings: readSettings(process.env) });
process.stdout.write('ready\n');
