import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Report } from './report.ts';
import { runCommand } from './run-command.ts';
import { which } from './which.ts';

const LIMIT_MS = 180_000;
const PACKAGE = 'redis-tools';
/** The package's one program for all its jobs; it goes by the name it is called by. */
const PROGRAM = '/usr/bin/redis-check-rdb';

export const debianRedisOrigin = `Debian package ${PACKAGE}`;

export interface DebianOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly report: Report;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Redis from the packages of Debian or Ubuntu, by apt-get as root. Not `redis-server`, which would start a server of its
 * own on port 6379: `redis-tools` brings the same program as redis-check-rdb. apt-get checks signatures and hashes.
 */
export async function debianRedis(folder: string, { env, report, signal }: DebianOptions): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('apt-get needs root');
  const apt = await which(['apt-get'], env);
  if (apt === undefined) throw new Error('no apt-get here');
  const quiet = { timeoutMs: LIMIT_MS, signal, env: { ...env, DEBIAN_FRONTEND: 'noninteractive' } };
  const install = ['install', '-y', '-qq', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=60', PACKAGE];
  report.line(`  apt-get install ${PACKAGE} …`);
  const first = await runCommand(apt, install, quiet);
  if (first.problem !== undefined) {
    report.line('  apt-get update …');
    await runCommand(apt, ['update', '-qq'], quiet);
    const second = await runCommand(apt, install, quiet);
    if (second.problem !== undefined) throw new Error(`apt-get: ${second.problem}`);
  }
  await symlink(PROGRAM, join(folder, 'redis-server'));
}
