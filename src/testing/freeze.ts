/**
 * Freezes a value to its depth, so that a handler that changes what it was given throws instead of spoiling what others
 * share. Maps, Sets and typed arrays cannot be frozen and stay as they are.
 */
export function deepFreeze<T>(value: T, seen = new Set<unknown>()): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || seen.has(value)) return value;
  seen.add(value);
  for (const inner of Object.values(value)) deepFreeze(inner, seen);
  return Object.freeze(value);
}
