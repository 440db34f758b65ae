import { pino } from 'pino';
import type { Logger } from '../../src/logger.ts';

export interface LogRecords {
  readonly logger: Logger;
  /** What was logged so far, the oldest first. */
  readonly records: readonly Readonly<Record<string, unknown>>[];
}

/** The logger of a process whose lines a test looks at. */
export function logRecords(): LogRecords {
  const records: Readonly<Record<string, unknown>>[] = [];
  const logger = pino({ level: 'debug' }, { write: (line: string) => records.push(JSON.parse(line)) });
  return { logger, records };
}
