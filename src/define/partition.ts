/** Partition of a key: FNV-1a (32 bit) over its UTF-16 code units, modulo the count. Stable for ever: stored data depends on it. */
export function partitionOf(key: string, partitionCount: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) {
    hash ^= key.charCodeAt(i);
    hash = Math.imul(hash, 0x01000193);
  }
  return (hash >>> 0) % partitionCount;
}
