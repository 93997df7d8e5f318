/**
 * The DHT: `@libp2p/kad-dht` on parts of ours. The library expects libp2p's address store, identify and ping; our book of
 * members and one greeting take their place, which costs less, is bounded, and holds no connection open
 * to members that are merely close.
 */
import { createHash } from 'node:crypto';
import { type PeerInfo, type Startable, start, stop } from '@libp2p/interface';
import { type KadDHT, type KadDHTComponents, kadDHT, passthroughMapper } from '@libp2p/kad-dht';
import { peerIdFromString } from '@libp2p/peer-id';
import { CID } from 'multiformats/cid';
import { create } from 'multiformats/hashes/digest';
import type { LibraryParts, NodeAddress } from '../transport/libp2p/index.ts';
import { nodeAddresses, toMultiaddr } from './addresses.ts';
import type { Book } from './book.ts';
import { createRecords } from './records.ts';
import { nameOf } from './who.ts';

/** Of a cluster, not of the public network: other nodes are never met. */
const KAD_PROTOCOL = '/shoal/kad/1.0.0';

const SHA2_256 = 0x12;
const RAW = 0x55;
const MAX_STREAMS = 32;
/** Records are renewed by their provider twice in this time. */
const VALIDITY_MS = 24 * 3_600_000;
const CLEAN_UP_MS = 3_600_000;
const SELF_QUERY_MS = 100;
/**
 * Members that keep a record, and that a look-up ends with. The library's 20 is for a network where most nodes leave within hours; here it
 * would be everybody in a small cluster, for each look-up of each agent.
 */
const CLOSEST = 8;
/** Members that are asked at the same time, on one path: members are admitted, and most answer. */
const ALPHA = 4;

class NotFoundError extends Error {
  override readonly name = 'NotFoundError';
}

export interface Kad {
  /** Members in the table. */
  readonly table: number;
  readonly records: number;
  /** A member that speaks this protocol; it is greeted before it enters the table. */
  meet(peerId: string): void;
  /** Asks those in the table for the members close to us. */
  look(signal: AbortSignal): Promise<void>;
  provide(key: string, signal: AbortSignal): Promise<number>;
  withdraw(key: string): Promise<void>;
  /** The members of the table that are closest to `key`, at most `most`; the closest first. */
  closest(key: string, most: number): readonly string[];
  /** Peer ids of those that are on record here, ourselves among them. `name` is `nameOf(key)`. */
  recorded(name: string): Promise<readonly string[]>;
  /** Peer ids; where they are reached is in the book. */
  providers(key: string, signal: AbortSignal): AsyncGenerator<string, void, undefined>;
  close(): Promise<void>;
}

const cidNamed = (name: string): CID => CID.createV1(RAW, create(SHA2_256, Buffer.from(name, 'hex')));
const cidOf = (key: string): CID => cidNamed(nameOf(key));

export async function startKad(options: {
  readonly parts: LibraryParts;
  readonly book: Book;
  readonly own: () => readonly NodeAddress[];
  readonly openStream: KadDHTComponents['connectionManager']['openStream'];
  /** Rejects when the member does not answer. */
  readonly greet: (peerId: string, signal: AbortSignal | undefined) => Promise<void>;
}): Promise<Kad> {
  const { parts, book, own, openStream, greet } = options;
  const { peerId, privateKey, registrar, events, logger } = parts;
  const records = createRecords();

  const infoOf = (id: PeerInfo['id']): PeerInfo => {
    const addresses = id.equals(peerId) ? own() : book.addressesOf(id.toString());
    if (addresses.length === 0) throw new NotFoundError(`no address of ${id.toString()}`);
    return { id, multiaddrs: addresses.map(toMultiaddr) };
  };
  const peerOf = (id: PeerInfo['id']) => ({
    id,
    addresses: infoOf(id).multiaddrs.map((multiaddr) => ({ multiaddr, isCertified: false })),
    protocols: [KAD_PROTOCOL],
    metadata: new Map<string, Uint8Array>(),
    tags: new Map<string, { value: number }>(),
  });
  const components = {
    peerId,
    privateKey,
    events,
    logger,
    registrar: {
      handle: registrar.handle.bind(registrar),
      unhandle: registrar.unhandle.bind(registrar),
      // Who speaks the protocol is known from greetings.
      register: async () => KAD_PROTOCOL,
      unregister: () => undefined,
    },
    addressManager: { getAddresses: () => own().map(toMultiaddr) },
    peerStore: {
      get: async (id: PeerInfo['id']) => peerOf(id),
      getInfo: async (id: PeerInfo['id']) => infoOf(id),
      async merge(id: PeerInfo['id'], { multiaddrs }: { readonly multiaddrs?: PeerInfo['multiaddrs'] }) {
        if (multiaddrs) book.learn(id.toString(), nodeAddresses(multiaddrs, id.toString()), false);
        return undefined;
      },
      all: async () => [],
    },
    connectionManager: {
      openStream,
      isDialable: async (addresses: unknown) => Array.isArray(addresses) && addresses.length > 0,
    },
    datastore: records.datastore,
    ping: {
      async ping(id: unknown, { signal }: { readonly signal?: AbortSignal } = {}) {
        await greet(String(id), signal);
        return 0;
      },
    },
  } as unknown as KadDHTComponents;

  const dht = kadDHT({
    protocol: KAD_PROTOCOL,
    clientMode: false,
    peerInfoMapper: passthroughMapper,
    kBucketSize: CLOSEST,
    alpha: ALPHA,
    disjointPaths: 1,
    initialQuerySelfInterval: SELF_QUERY_MS,
    maxInboundStreams: MAX_STREAMS,
    maxOutboundStreams: MAX_STREAMS,
    // Ours are renewed by who decides what is provided.
    reprovide: { validity: VALIDITY_MS, threshold: 0, interval: CLEAN_UP_MS, concurrency: 1 },
  })(components) as KadDHT & {
    readonly routingTable: {
      readonly size: number;
      closestPeers(kadId: Uint8Array, options: { readonly count: number }): PeerInfo['id'][];
    };
    readonly providers: { getProviders(cid: CID): Promise<PeerInfo['id'][]> };
    onPeerConnect(peer: PeerInfo & { readonly protocols?: string[] }): Promise<void>;
  } & EventTarget &
    Startable;

  dht.addEventListener('peer', (event) => {
    const { id, multiaddrs } = (event as CustomEvent<PeerInfo>).detail;
    book.learn(id.toString(), nodeAddresses(multiaddrs, id.toString()), false);
  });
  await start(dht);

  return {
    get table() {
      return dht.routingTable.size;
    },
    get records() {
      return records.size;
    },
    meet(member) {
      const id = peerIdFromString(member);
      const multiaddrs = book.addressesOf(member).map(toMultiaddr);
      dht.onPeerConnect({ id, multiaddrs }).catch(() => undefined);
    },
    async look(signal) {
      // What they answer is met on the way.
      for await (const _event of dht.getClosestPeers(peerId.toMultihash().bytes, { signal }));
    },
    async provide(key, signal) {
      let told = 0;
      for await (const event of dht.provide(cidOf(key), { signal })) {
        if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') told += 1;
      }
      return told;
    },
    closest(key, most) {
      // Where a key lies is the hash of its multihash, as of a peer its peer id's.
      const place = createHash('sha256').update(cidOf(key).multihash.bytes).digest();
      return dht.routingTable.closestPeers(place, { count: most }).map(String);
    },
    recorded: async (name) => (await dht.providers.getProviders(cidNamed(name))).map(String),
    withdraw: (key) => dht.cancelReprovide(cidOf(key)),
    async *providers(key, signal) {
      for await (const event of dht.findProviders(cidOf(key), { signal })) {
        if (event.name !== 'PROVIDER') continue;
        for (const { id, multiaddrs } of event.providers) {
          const name = id.toString();
          if (id.equals(peerId)) continue;
          book.learn(name, nodeAddresses(multiaddrs, name), false);
          yield name;
        }
      }
    },
    close: () => stop(dht),
  };
}
