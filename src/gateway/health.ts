import type { ServerResponse } from 'node:http';
import type { Readiness, Runtime } from '../engine/contract/runtime.ts';
import type { Logger } from '../logger.ts';
import { answerJson } from './answers.ts';

/** Longest wait for the answer of /ready: what cannot say that it is ready is not. */
const READY_TIMEOUT_MS = 2_000;

/** `/health`: this process runs and its event loop turns. Says nothing about MongoDB or Redis. */
export function answerHealth(response: ServerResponse): void {
  answerJson(response, 200, { status: 'ok' });
}

/** `/ready`: 200 with `ready` or `degraded` and its reasons, 503 when no traffic should come here. */
export async function answerReady(
  response: ServerResponse,
  runtime: Runtime,
  draining: boolean,
  logger: Logger,
): Promise<void> {
  const readiness: Readiness = draining
    ? { status: 'unavailable', reasons: ['this gateway is shutting down'] }
    : await askReady(runtime, logger);
  answerJson(response, readiness.status === 'unavailable' ? 503 : 200, readiness);
}

async function askReady(runtime: Runtime, logger: Logger): Promise<Readiness> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Readiness>((resolve) => {
    const reasons = [`no answer about MongoDB within ${READY_TIMEOUT_MS} ms`];
    timer = setTimeout(() => resolve({ status: 'unavailable', reasons }), READY_TIMEOUT_MS);
  });
  try {
    return await Promise.race([runtime.ready(), late]);
  } catch (error) {
    logger.error({ err: error }, 'readiness cannot be told');
    return { status: 'unavailable', reasons: ['readiness cannot be told; see the log'] };
  } finally {
    clearTimeout(timer);
  }
}
