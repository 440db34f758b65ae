export interface Servers {
  readonly mongodbUrl: string;
  readonly redisUrl: string;
  stop(): Promise<void>;
}

/** MONGODB_URL and REDIS_URL where both are set. */
export async function getServers(): Promise<Servers> {
  const { MONGODB_URL, REDIS_URL } = process.env;
  if (MONGODB_URL === undefined || REDIS_URL === undefined) throw new Error('set MONGODB_URL and REDIS_URL');
  return { mongodbUrl: MONGODB_URL, redisUrl: REDIS_URL, stop: async () => undefined };
}
