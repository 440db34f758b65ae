import type { DocumentNode } from 'graphql';
import { LRUCache } from 'lru-cache';

/**
 * Parsed documents by their text, bounded by the length of the texts: a client that sends a new document each time
 * pushes out its own, and never fills the memory. What was validated is kept by document, so it is bounded with them.
 */
export function documentCaches() {
  const cache = <T extends object>(maxLength: number) =>
    new LRUCache<string, T>({
      maxSize: maxLength,
      maxEntrySize: 65_536,
      sizeCalculation: (_value, text) => text.length + 1,
    });
  return { documentCache: cache<DocumentNode>(4_194_304), errorCache: cache<Error>(524_288) };
}
