/**
 * The provider records that this member keeps for the DHT, in memory, as the datastore that the library asks for. Bounded as a whole, for each
 * key and for each provider, so that one member cannot push out what others said. Other records (values) are not kept.
 */
import type { KadDHTComponents } from '@libp2p/kad-dht';

type Datastore = KadDHTComponents['datastore'];
type Key = Parameters<Datastore['put']>[0];

/** About 250 bytes each. */
const MAX_RECORDS = 64_000;
/** Of one provider: what it provides at most (see discovery's budget). */
const MAX_OF_PROVIDER = 1_024;
/** Providers of one key; more are of no use to who asks. */
const MAX_OF_KEY = 64;

interface Records {
  /** All that the library uses of a datastore. */
  readonly datastore: Pick<Datastore, 'put' | 'get' | 'has' | 'delete' | 'query'>;
  readonly size: number;
}

class NotFoundError extends Error {
  override readonly name = 'NotFoundError';
}

interface Place {
  readonly cid: string;
  readonly provider: string;
}

export function createRecords(): Records {
  /** By the whole key, the longest not renewed first. */
  const records = new Map<string, { readonly key: Key; readonly value: Uint8Array } & Place>();
  const ofKey = new Map<string, Set<string>>();
  const ofProvider = new Map<string, Set<string>>();

  function placeOf(key: Key): Place | undefined {
    const [, , kind, cid, provider] = key.toString().split('/');
    return kind === 'provider' && cid !== undefined && provider !== undefined ? { cid, provider } : undefined;
  }

  function remove(name: string): void {
    const record = records.get(name);
    if (record === undefined) return;
    records.delete(name);
    for (const [index, part] of [
      [ofKey, record.cid],
      [ofProvider, record.provider],
    ] as const) {
      const names = index.get(part);
      names?.delete(name);
      if (names?.size === 0) index.delete(part);
    }
  }

  function addTo(index: Map<string, Set<string>>, part: string, name: string, most: number): void {
    const names = index.get(part) ?? new Set();
    index.set(part, names);
    names.add(name);
    const [oldest] = names;
    if (names.size > most && oldest !== undefined) remove(oldest);
  }

  return {
    datastore: {
      put(key, value) {
        const place = placeOf(key);
        if (place === undefined) return key;
        const name = key.toString();
        remove(name);
        records.set(name, { key, value, ...place });
        addTo(ofKey, place.cid, name, MAX_OF_KEY);
        addTo(ofProvider, place.provider, name, MAX_OF_PROVIDER);
        const [oldest] = records.keys();
        if (records.size > MAX_RECORDS && oldest !== undefined) remove(oldest);
        return key;
      },
      get(key) {
        const record = records.get(key.toString());
        if (record === undefined) throw new NotFoundError(`no record ${key.toString()}`);
        return record.value;
      },
      has: (key) => records.has(key.toString()),
      delete: (key) => remove(key.toString()),
      async *query({ prefix = '' }) {
        const cid = prefix.split('/')[3];
        const names = cid === undefined ? [...records.keys()] : [...(ofKey.get(cid) ?? [])];
        for (const name of names) {
          const record = records.get(name);
          if (record !== undefined) yield { key: record.key, value: record.value };
        }
      },
    },
    get size() {
      return records.size;
    },
  };
}
