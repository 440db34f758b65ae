import { rm } from 'node:fs/promises';
import type { TestProject } from 'vitest/node';
import { findMongod, findRedisServer } from '../../../src/services/index.ts';
import { compileProcesses } from '../../setup/compiled.ts';
import { openDataRoot } from '../../setup/data-root.ts';

/** A place for data. Every fault has servers of its own; that their programs are there is asked once, and loudly. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await Promise.all([findMongod(), findRedisServer()]);
  const dataRoot = await openDataRoot();
  await compileProcesses(dataRoot);
  project.provide('dataRoot', dataRoot);
  return () => rm(dataRoot, { recursive: true, force: true });
}
