import { MillraceError } from '../errors.ts';

/** Rejects with MONGODB_UNREACHABLE when there is no answer within `ms`; the call goes on, and nobody hears its answer. */
export function inTime<T>(call: Promise<T>, ms: number, name: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new MillraceError('MONGODB_UNREACHABLE', `MongoDB gave no answer to ${name} in ${ms} ms.`));
    }, ms);
  });
  return Promise.race([call, late]).finally(() => clearTimeout(timer));
}
