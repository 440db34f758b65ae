import { createWriteStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_HEADER = 0x04034b50;
const END_BYTES = 22;
const MAX_COMMENT_BYTES = 65_535;
const LOCAL_HEADER_BYTES = 30;
const DIRECTORY_ENTRY_BYTES = 46;
const DEFLATED = 8;

interface Entry {
  readonly method: number;
  readonly packedBytes: number;
  readonly unpackedBytes: number;
  readonly headerAt: number;
}

/**
 * Writes the one file of a zip archive (a Python wheel is one) whose path ends in `ending` to `target`.
 * Reads stored and deflated entries below 4 GB; the archive's own hash was checked before, so its checksums are not.
 */
export async function extractZipEntry(archive: string, ending: string, target: string): Promise<void> {
  const file = await open(archive);
  try {
    const entry = await findEntry(file, ending);
    if (entry.method !== DEFLATED && entry.method !== 0) throw new Error(`zip method ${entry.method} is not known`);
    const header = await readAt(file, entry.headerAt, LOCAL_HEADER_BYTES);
    if (header.readUInt32LE(0) !== LOCAL_HEADER) throw new Error('the zip archive is damaged: no local header');
    const start = entry.headerAt + LOCAL_HEADER_BYTES + header.readUInt16LE(26) + header.readUInt16LE(28);
    const source = file.createReadStream({ start, end: start + entry.packedBytes - 1, autoClose: false });
    const output = createWriteStream(target, { mode: 0o755 });
    if (entry.method === DEFLATED) await pipeline(source, createInflateRaw(), output);
    else await pipeline(source, output);
    if (output.bytesWritten !== entry.unpackedBytes) throw new Error('the zip archive is damaged: wrong length');
  } finally {
    await file.close();
  }
}

async function findEntry(file: FileHandle, ending: string): Promise<Entry> {
  const directory = await readDirectory(file);
  for (let at = 0; at + DIRECTORY_ENTRY_BYTES <= directory.length; ) {
    if (directory.readUInt32LE(at) !== DIRECTORY_ENTRY) break;
    const nameBytes = directory.readUInt16LE(at + 28);
    const nameAt = at + DIRECTORY_ENTRY_BYTES;
    if (directory.toString('utf8', nameAt, nameAt + nameBytes).endsWith(ending)) {
      return {
        method: directory.readUInt16LE(at + 10),
        packedBytes: directory.readUInt32LE(at + 20),
        unpackedBytes: directory.readUInt32LE(at + 24),
        headerAt: directory.readUInt32LE(at + 42),
      };
    }
    at = nameAt + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  throw new Error(`the zip archive holds no ${ending}`);
}

async function readDirectory(file: FileHandle): Promise<Buffer> {
  const { size } = await file.stat();
  const tailBytes = Math.min(size, END_BYTES + MAX_COMMENT_BYTES);
  const tail = await readAt(file, size - tailBytes, tailBytes);
  for (let at = tailBytes - END_BYTES; at >= 0; at -= 1) {
    if (tail.readUInt32LE(at) === END_OF_DIRECTORY) {
      return readAt(file, tail.readUInt32LE(at + 16), tail.readUInt32LE(at + 12));
    }
  }
  throw new Error('not a zip archive');
}

async function readAt(file: FileHandle, position: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  const { bytesRead } = await file.read(buffer, 0, bytes, position);
  if (bytesRead !== bytes) throw new Error('the zip archive is cut off');
  return buffer;
}
