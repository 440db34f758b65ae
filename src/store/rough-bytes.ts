/** About how large a JSON value is in BSON; cheap enough to ask for every document. */
export function roughBytes(value: unknown): number {
  if (typeof value === 'string') return 5 + value.length;
  if (typeof value !== 'object' || value === null) return 8;
  let bytes = 5;
  if (Array.isArray(value)) for (const item of value) bytes += 4 + roughBytes(item);
  else for (const [key, item] of Object.entries(value)) bytes += 2 + key.length + roughBytes(item);
  return bytes;
}
