/**
 * Builds the page and serves it, with the gateway behind the same address: `npm run example:screen`, beside `npm start`.
 * PORT is the page's (default 4080), GATEWAY_URL where the gateway is (default http://127.0.0.1:4000).
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type InlineConfig, preview } from 'vite';

export interface ServedScreen {
  readonly url: string;
  stop(): Promise<void>;
}

const ofDirective = new Set<string | undefined>(['MODULE_LEVEL_DIRECTIVE', 'SOURCEMAP_ERROR']);

/** The page as users get it: bundled, from one origin with the gateway. */
export async function serveScreen(options: {
  readonly gatewayUrl: string;
  readonly port: number;
  /** Receives the bundle. */
  readonly outDir: string;
  /** What Vite tells; default `warn`. */
  readonly logLevel?: 'silent' | 'warn';
}): Promise<ServedScreen> {
  const config: InlineConfig = {
    root: import.meta.dirname,
    configFile: false,
    logLevel: options.logLevel ?? 'warn',
    mode: 'production',
    define: { 'process.env.NODE_ENV': '"production"' },
    // This repository's own sources; a project of your own has the package and needs no condition.
    resolve: { conditions: ['millrace-source', 'module', 'browser', 'production'] },
    esbuild: { jsx: 'automatic', jsxDev: false },
    build: {
      outDir: options.outDir,
      emptyOutDir: true,
      // 'use client' is for frameworks that render on a server; here it says nothing, and has no place in a source map.
      rollupOptions: { onwarn: (warning, warn) => (ofDirective.has(warning.code) ? undefined : warn(warning)) },
    },
    preview: {
      host: '127.0.0.1',
      port: options.port,
      proxy: { '/graphql': { target: options.gatewayUrl, ws: true } },
    },
  };
  await build(config);
  const server = await preview(config);
  const address = server.httpServer.address();
  const port = typeof address === 'object' && address !== null ? address.port : options.port;
  return { url: `http://127.0.0.1:${port}`, stop: () => server.close() };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const gatewayUrl = process.env.GATEWAY_URL ?? 'http://127.0.0.1:4000';
  const outDir = await mkdtemp(join(tmpdir(), 'bank-screen-'));
  const { url } = await serveScreen({ gatewayUrl, port: Number(process.env.PORT ?? 4080), outDir });
  console.log(`The bank's accounts: ${url} (the gateway: ${gatewayUrl}). Ctrl-C stops it.`);
}
