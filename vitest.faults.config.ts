import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.ts';

/** `npm run test:faults`: one at a time, because a fault takes the whole machine. */
export default mergeConfig(
  { ...base, test: { ...base.test, include: [], globalSetup: [] } },
  defineConfig({
    test: {
      include: ['test/faults/*.fault.ts'],
      globalSetup: ['test/faults/harness/global-data.ts'],
      maxWorkers: 1,
      fileParallelism: false,
      hookTimeout: 120_000,
    },
  }),
);
