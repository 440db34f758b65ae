import { type Logger as PinoLogger, pino } from 'pino';

/** Structured log: one JSON line a record, fields first, then a message that is the same every time. */
export type Logger = Pick<PinoLogger, 'debug' | 'info' | 'warn' | 'error' | 'fatal'> & {
  child(fields: Readonly<Record<string, unknown>>): Logger;
};

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'silent';

/** `pretty` is for people at a terminal; never set it where logs are collected. */
export function createLogger(options: { readonly level: LogLevel; readonly pretty: boolean }): Logger {
  return pino({
    level: options.level,
    base: { pid: process.pid },
    redact: {
      paths: ['authorization', 'headers.authorization', 'headers.cookie', '*.password', '*.token'],
      censor: '[hidden]',
    },
    ...(options.pretty
      ? { transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname', translateTime: 'HH:MM:ss' } } }
      : {}),
  });
}
