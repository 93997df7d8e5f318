/** What may be encoded; text becomes UTF-8, and dictionaries are written in key order. */
export type Encodable =
  | number
  | string
  | Uint8Array
  | readonly Encodable[]
  | { readonly [key: string]: Encodable };

export function encodeBencode(value: Encodable): Buffer {
  const parts: Uint8Array[] = [];
  const write = (entry: Encodable): void => {
    if (typeof entry === 'number') {
      parts.push(Buffer.from(`i${entry}e`));
    } else if (typeof entry === 'string') {
      const text = Buffer.from(entry);
      parts.push(Buffer.from(`${text.length}:`), text);
    } else if (entry instanceof Uint8Array) {
      parts.push(Buffer.from(`${entry.length}:`), entry);
    } else if (Array.isArray(entry)) {
      parts.push(Buffer.from('l'));
      for (const item of entry as readonly Encodable[]) write(item);
      parts.push(Buffer.from('e'));
    } else {
      parts.push(Buffer.from('d'));
      for (const [key, item] of Object.entries(entry).sort(([a], [b]) => (a < b ? -1 : 1))) {
        write(key);
        write(item);
      }
      parts.push(Buffer.from('e'));
    }
  };
  write(value);
  return Buffer.concat(parts);
}
