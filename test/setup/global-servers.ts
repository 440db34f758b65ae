import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { provideServers, terminalReport } from '../../src/services/index.ts';
import { compileProcesses } from './compiled.ts';
import { openDataRoot } from './data-root.ts';

declare module 'vitest' {
  interface ProvidedContext {
    mongoUrl: string;
    redisUrl: string;
    dataRoot: string;
  }
}

/** One MongoDB and one Redis for the whole run, with new data; those of MONGODB_URL and REDIS_URL where these are set. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dataRoot = await openDataRoot();
  try {
    await compileProcesses(dataRoot);
    const servers = await provideServers({
      dataDir: join(dataRoot, 'shared'),
      mongo: { cacheGB: 0.75, args: ['--setParameter', 'enableTestCommands=1'] },
      report: await terminalReport(),
    });
    project.provide('mongoUrl', servers.mongoUrl);
    project.provide('redisUrl', servers.redisUrl);
    project.provide('dataRoot', dataRoot);
    return async () => {
      await servers.stop();
      await rm(dataRoot, { recursive: true, force: true });
    };
  } catch (error) {
    await rm(dataRoot, { recursive: true, force: true });
    throw error;
  }
}
