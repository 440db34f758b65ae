/** The processes that the rows start. */
const at = (path: string): URL => new URL(`../${path}`, import.meta.url);

export const DRIVER = at('load/driver.ts');
export const FAN_DRIVER = at('load/fan-driver.ts');
export const RESUME_DRIVER = at('load/resume-driver.ts');
export const BARE_WS = at('baselines/bare-ws.ts');
export const PUSHING_GRAPHQL_WS = at('baselines/pushing-graphql-ws.ts');
export const CHANGE_SOURCE = at('baselines/change-source.ts');
export const EMPTY_YOGA = at('baselines/empty-yoga.ts');
export const BARE_GRAPHQL_WS = at('baselines/bare-graphql-ws.ts');
export const HAND_WRITTEN = at('baselines/hand-written.ts');
export const RAW_LOG = at('baselines/raw-log.ts');
export const APPEND_INSERT_ONE = at('baselines/append-insert-one.ts');
export const APPEND_TRANSACTION = at('baselines/append-transaction.ts');
export const APPEND_EMMETT = at('emmett/append-emmett.mjs');
export const MILLRACE_APPEND = at('millrace/append.ts');
export const MILLRACE_SERVER = at('millrace/server.ts');
export const MILLRACE_LOAD = at('millrace/load.ts');
export const MILLRACE_LOG = at('millrace/log.ts');
export const MILLRACE_TIMERS = at('millrace/timers.ts');
export const MILLRACE_DEAD_LETTERS = at('millrace/dead-letters.ts');
export const MILLRACE_TRANSFERS = at('millrace/transfers.ts');
