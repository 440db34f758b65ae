import { defineConfig } from 'vitest/config';

/** `import 'millrace'` in tests and examples is this package by its own name: its sources, not `dist/`. */
const conditions = ['millrace-source', 'node', 'import', 'default'];

export default defineConfig({
  // As Node resolves: by `main` and not by `module`, and "index" is index.js where there is index.mjs too. Otherwise tests
  // get another copy of graphql than the packages that they test with, and the two refuse each other.
  resolve: { conditions, mainFields: ['main'], extensions: ['.js', '.mjs', '.ts', '.json'] },
  ssr: { resolve: { conditions, mainFields: ['main'], externalConditions: ['millrace-source'] } },
  test: {
    include: ['test/**/*.test.ts', 'examples/**/*.test.ts'],
    globalSetup: ['test/setup/global-servers.ts'],
    // Only for what hangs: what a test waits for has limits of its own (test/setup/until.ts), and says what it was.
    testTimeout: 180_000,
    hookTimeout: 240_000,
    // Two cores, shared with MongoDB and Redis: two files at a time.
    pool: 'forks',
    maxWorkers: 2,
    reporters: ['default'],
    chaiConfig: { truncateThreshold: 400 },
  },
});
