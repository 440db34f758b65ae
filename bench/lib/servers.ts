export interface Servers {
  readonly mongodbUrl: string;
  readonly redisUrl: string;
}

/** The servers that `npm run bench` started, or those of your own. */
export function getServers(): Servers {
  const { MONGODB_URL, REDIS_URL } = process.env;
  if (MONGODB_URL === undefined || REDIS_URL === undefined)
    throw new Error('MONGODB_URL and REDIS_URL are not set: run it by `npm run bench`, which starts both');
  return { mongodbUrl: MONGODB_URL, redisUrl: REDIS_URL };
}
