import { Repeater } from 'graphql-yoga';
import type { AccountChange } from './bank-schema.ts';

/** A snapshot, then silence until the subscriber leaves. */
export const idle = (id: string): AsyncIterable<AccountChange> =>
  new Repeater(async (push, stop) => {
    push({ signal: 'SNAPSHOT', cursor: 'c', id, node: null, version: 0, origins: [] });
    await stop;
  });
