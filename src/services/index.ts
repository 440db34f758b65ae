/**
 * MongoDB and Redis for development and tests: found, downloaded where need be, started on loopback and stopped with the
 * process. Nothing in production uses this room; there both URLs are required.
 */
export { type ChromiumOptions, findChromium } from './chromium.ts';
export { type MongoOptions, startMongo } from './mongo-server.ts';
export type { PrivateServer } from './private-server.ts';
export {
  findMongod,
  findRedisServer,
  type ProvidedServer,
  type ProvidedServers,
  type ProvideOptions,
  provideMongo,
  provideRedis,
  provideServers,
} from './provide.ts';
export { type RedisOptions, startRedis } from './redis-server.ts';
export { type Progress, type Report, silentReport, terminalReport } from './report.ts';
export type { ServerBinary } from './sources.ts';
