import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { App } from '../define-app.ts';
import { isMillraceError, MillraceError } from '../errors.ts';

const defaultFiles = ['millrace.config.js', 'millrace.config.mjs', 'millrace.config.ts'];

/**
 * The default export of an app file. Throws SETTINGS_INVALID when there is none or it is no app; what the file itself
 * throws passes.
 */
export async function loadApp(file: string | undefined, directory: string): Promise<App> {
  const path = findFile(file, directory);
  let loaded: unknown;
  try {
    loaded = await import(pathToFileURL(path).href);
  } catch (cause) {
    throw explained(cause, path);
  }
  const app = typeof loaded === 'object' && loaded !== null && 'default' in loaded ? loaded.default : undefined;
  if (isApp(app)) return app;
  throw new MillraceError(
    'SETTINGS_INVALID',
    `${path} does not export an app by default. Write: export default defineApp({ modules: [...] })`,
  );
}

function findFile(file: string | undefined, directory: string): string {
  const candidates = (file === undefined ? defaultFiles : [file]).map((name) => resolve(directory, name));
  const found = candidates.find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new MillraceError(
    'SETTINGS_INVALID',
    file === undefined
      ? `There is no app file in ${directory}. Write a millrace.config.js (or .mjs, .ts) there, or name a file with --app.`
      : `There is no file ${candidates[0]}. Correct --app.`,
  );
}

function explained(cause: unknown, path: string): unknown {
  if (isMillraceError(cause) || !(cause instanceof Error) || !('code' in cause)) return cause;
  if (cause.code !== 'ERR_UNKNOWN_FILE_EXTENSION' || !/\.[mc]?tsx?$/.test(path)) return cause;
  return new MillraceError(
    'SETTINGS_INVALID',
    `${path} is TypeScript, which this Node.js (${process.version}) does not run by itself. Compile it, or install tsx and start with NODE_OPTIONS="--import tsx".`,
    { cause },
  );
}

function isApp(value: unknown): value is App {
  return typeof value === 'object' && value !== null && 'modules' in value && Array.isArray(value.modules);
}
