import { MongoClient } from 'mongodb';
import { MillraceError } from '../errors.ts';

/** For the question alone; the driver's own wait is over by then. */
const ASK_TIMEOUT_MS = 2_000;

const standaloneText =
  'MongoDB runs as a standalone server. Millrace needs a replica set (transactions, change streams): start mongod with --replSet rs0 and run rs.initiate() once; one node is enough for development.';

export const standalone = (): MillraceError => new MillraceError('MONGODB_NOT_REPLICA_SET', standaloneText);

/**
 * Why the driver found no server to use, where a server answers all the same: it is standalone, its set was never
 * initiated or has another name, or its members go by names that mean nothing here. Undefined: no answer, or no idea.
 */
export async function whyNotServed(url: string): Promise<MillraceError | undefined> {
  const direct = directUrl(url);
  if (direct === undefined) return undefined;
  const client = new MongoClient(direct.url, { serverSelectionTimeoutMS: ASK_TIMEOUT_MS });
  try {
    await client.connect();
    const hello = await client.db('admin').command({ hello: 1 });
    return diagnosis(hello, direct.host, direct.setName);
  } catch {
    return undefined;
  } finally {
    await client.close().catch(() => undefined);
  }
}

function diagnosis(
  hello: Readonly<Record<string, unknown>>,
  host: string,
  askedName: string | null,
): MillraceError | undefined {
  const { setName, isreplicaset, hosts, msg } = hello;
  // A router of a sharded cluster.
  if (msg === 'isdbgrid') return undefined;
  if (isreplicaset === true) {
    return new MillraceError(
      'MONGODB_NOT_REPLICA_SET',
      `MongoDB at ${host} was started with --replSet, but its replica set was never initiated. Run rs.initiate() there once, in mongosh.`,
    );
  }
  if (typeof setName !== 'string') return standalone();
  if (askedName !== null && askedName !== setName) {
    return new MillraceError(
      'MONGODB_UNREACHABLE',
      `MongoDB at ${host} is of the replica set "${setName}", MONGODB_URL asks for "${askedName}". Set replicaSet=${setName} in MONGODB_URL.`,
    );
  }
  const members = Array.isArray(hosts) ? hosts.join(', ') : 'none';
  return new MillraceError(
    'MONGODB_UNREACHABLE',
    `MongoDB at ${host} answers, but no primary of its replica set "${setName}" could be reached. Its members are ${members}: they must be reachable from here under these names, and a majority of them must run. To reach a single member by the address in MONGODB_URL, add directConnection=true there.`,
  );
}

interface DirectUrl {
  readonly url: string;
  readonly host: string;
  readonly setName: string | null;
}

/** To the first server that the URL names; without user and password, which `hello` does not need. */
function directUrl(url: string): DirectUrl | undefined {
  const [, host, query = ''] = /^mongodb:\/\/(?:[^@/]*@)?([^,/?]+)[^?]*(?:\?(.*))?$/.exec(url) ?? [];
  if (host === undefined) return undefined;
  const asked = new URLSearchParams(query);
  const kept = [...asked].filter(([name]) => /^(tls|ssl|proxy)/i.test(name));
  const parameters = new URLSearchParams([...kept, ['directConnection', 'true']]);
  return { url: `mongodb://${host}/?${parameters}`, host, setName: asked.get('replicaSet') };
}
