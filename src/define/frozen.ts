/** A value that may be frozen or written `as const`. */
export type DeepReadonly<T> = T extends object
  ? T extends (...args: never[]) => unknown
    ? T
    : { readonly [K in keyof T]: DeepReadonly<T[K]> }
  : T;

/**
 * Freezes JSON to its depth. What is kept in memory is given to handlers again and again: one that changes it throws, where its
 * change would otherwise stay although the event was not handled, or was handled twice. It walks no circles.
 */
export function freezeJson<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  for (const inner of Object.values(value)) freezeJson(inner);
  return Object.freeze(value);
}
