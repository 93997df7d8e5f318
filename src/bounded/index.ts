/**
 * What a program remembers only so that it need not ask again: a map that forgets what was set longest ago
 * once it is full, so that nobody can fill the memory by asking for ever new things.
 */

export interface BoundedMap<K, V> {
  get(key: K): V | undefined;
  /** What is set again counts as new. */
  set(key: K, value: V): void;
  delete(key: K): void;
  clear(): void;
}

/** Keeps at most `most` entries. */
export function createBoundedMap<K, V>(most: number): BoundedMap<K, V> {
  /** In the order of setting: what is set again moves to the end. */
  const entries = new Map<K, V>();
  return {
    get: (key) => entries.get(key),
    set(key, value) {
      entries.delete(key);
      entries.set(key, value);
      if (entries.size <= most) return;
      for (const oldest of entries.keys()) {
        entries.delete(oldest);
        return;
      }
    },
    delete: (key) => void entries.delete(key),
    clear: () => entries.clear(),
  };
}
