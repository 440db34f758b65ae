import { V7Generator } from 'uuidv7';

/** Random numbers fetched from the system for many ids at once; a call for each costs more than the rest of an id. */
const words = new Uint32Array(1_024);
let next = words.length;
const generator = new V7Generator({
  nextUint32() {
    if (next === words.length) {
      crypto.getRandomValues(words);
      next = 0;
    }
    return words[next++] ?? 0;
  },
});

/** A UUIDv7 (RFC 9562): ordered by time, and within this process by when it was made. */
export const newId = (): string => generator.generate().toString();
