/** About how large a JSON value is in BSON; cheap enough to ask for every document. */
export function roughBytes(value: unknown): number {
  if (typeof value === 'string') return 5 + value.length;
  if (typeof value !== 'object' || value === null) return 8;
  let bytes = 5;
  if (Array.isArray(value)) {
    for (const item of value) bytes += 4 + roughBytes(item);
    return bytes;
  }
  const fields: Readonly<Record<string, unknown>> = value as Readonly<Record<string, unknown>>;
  for (const key in fields) bytes += 2 + key.length + roughBytes(fields[key]);
  return bytes;
}
