/**
 * The owner of one open blob. While it downloads, `fetching` decides what to ask for; `sharing`
 * what to give; `dialer` whom to meet. A complete blob only shares. Of two connections with one
 * member, one stays.
 */
import { pieceCount, pieceSize, type Torrent } from '#torrent';
import { type AskedTally, createPeer, type Peer, type PeerEvents } from '../peer/index.ts';
import type {
  DownloadStats,
  PeerAddress,
  PieceSource,
  PieceStore,
  SeedStore,
  SwarmDownload,
} from '../port.ts';
import { needsOrigin, rankMembers, zoneDistance } from '../ranking/index.ts';
import { type Connection, type Greeting, nameOf } from '../transport/index.ts';
import type { Blob, Commons } from './contract.ts';
import { createDialer } from './dialer.ts';
import { createFetching } from './fetching.ts';
import type { Fetching } from './fetching-contract.ts';
import { createHoldings } from './holdings.ts';
import { ENOUGH_RATE } from './origin-need.ts';
import type { Sender } from './pieces.ts';
import { createSharing } from './sharing.ts';

/** Two connections that began within this time were dialled by both sides at once. */
const CROSSING_MS = 5_000;

/** The age of a download at which its agents had their time to be met (see ranking). */
const AGENTS_HEARD_MS = 500;

/** Members of one blob that we dial at most; with those that dial us the swarm is well connected. */
const MAX_DIALLED_PEERS = 50;

const REASON_COMPLETE = 'both have the whole blob';

interface BlobOptions {
  readonly metainfo: Torrent;
  readonly commons: Commons;
  /** It is over: the engine forgets it. */
  readonly ended: () => void;
}

/** Opens a blob to seed it (`seed`), whole or while it grows, or to download it into `store`. */
export function createBlob(
  options: BlobOptions & ({ readonly seed: SeedStore } | { readonly store: PieceStore }),
): { readonly blob: Blob; readonly download: SwarmDownload | undefined } {
  const { metainfo, commons } = options;
  const { infoHash } = metainfo;
  const { observer, now } = commons;
  const log = commons.log.child({ infoHash });
  const count = pieceCount(metainfo);
  const openedAt = now();
  const peers = new Map<string, Peer>();
  const asked: AskedTally = { blocks: 0 };
  let seed: SeedStore | undefined = 'seed' in options ? options.seed : undefined;
  let store: PieceStore = 'seed' in options ? options.seed : options.store;
  let owned = !('seed' in options);
  let lonelySince: number | undefined = openedAt;
  let closed = false;
  let discovered = false;
  let spared = false;
  let fetching: Fetching | undefined;
  /** What ends our hearing of growth. */
  const growing: (() => void)[] = [];
  const listeners: ((piece: number, source: PieceSource) => void)[] = [];
  const completed = Promise.withResolvers<void>();
  completed.promise.catch(() => undefined);

  const complete = (): boolean => fetching === undefined || fetching.done;
  const distance = (peer: Peer): number => zoneDistance(commons.zone, peer.zone);
  const holdings = createHoldings(count);
  const sharing = createSharing({
    pieceCount: count,
    pieceLength: metainfo.pieceLength,
    holds: (piece) => store.has(piece),
    holdings,
    distance,
    now,
  });

  const dialer = createDialer({
    async dial(address) {
      const { connection, greeting } = await commons.meet(address, infoHash);
      welcome(connection, greeting, address);
    },
    room: () => !closed && peers.size < MAX_DIALLED_PEERS && commons.room(),
    banned: (address) => commons.bans.hasAddress(address, now()),
    rank: (addresses) => rankMembers(addresses, { zone: commons.zone, limit: MAX_DIALLED_PEERS }),
    now,
  });

  /** The origin has every piece, so it is met last: when the agents cannot or do not deliver. */
  function leanOnOrigin(): boolean {
    if (fetching === undefined || fetching.done || spared) return false;
    const { unavailablePieces, downloadRate } = fetching.stats();
    let connectedAgents = 0;
    let silentAgents = 0;
    for (const peer of peers.values()) {
      if (peer.role === 'origin') continue;
      connectedAgents++;
      if (!peer.told) silentAgents++;
    }
    // Once every agent that we know has told what it has, there is nothing to wait for.
    const heardAll = connectedAgents > 0 && silentAgents === 0 && dialer.untried === 0;
    const ageMs = now() - openedAt;
    return needsOrigin({
      discovered,
      ageMs: heardAll ? Math.max(ageMs, AGENTS_HEARD_MS) : ageMs,
      connectedAgents,
      untriedAgents: dialer.untried,
      unavailablePieces,
      bytesPerSecond: downloadRate,
      enoughBytesPerSecond: ENOUGH_RATE,
    });
  }

  function meetMore(): void {
    if (!closed && !complete()) dialer.run(leanOnOrigin());
  }

  function ban(member: Sender, reason: string): void {
    log.warn({ peer: member.label, reason }, 'member banned');
    commons.bans.add(member, now());
    peers.get(member.peerId)?.close(`banned: ${reason}`);
  }

  const events: PeerEvents = {
    have(peer, piece) {
      if (!holdings.add(peer, piece)) return false;
      sharing.have(peer, piece);
      fetching?.have(peer, piece);
      partIfBothComplete(peer);
      return true;
    },
    pieces(peer, bits) {
      // Whether agents have what we lack may be known now: then the origin need not wait.
      if (bits === 'none') return meetMore();
      holdings.addAll(peer, bits);
      sharing.pieces(peer, bits);
      fetching?.pieces(peer, bits);
      partIfBothComplete(peer);
      meetMore();
    },
    choked: (peer, dropped) => fetching?.choked(peer, dropped),
    unchoked: (peer) => fetching?.unchoked(peer),
    interested: () => sharing.interested(),
    rejected: (peer, piece, offset) => fetching?.refused(peer, piece, offset),
    blockStart: (peer, piece, offset) => fetching?.blockStart(peer, piece, offset),
    blockEnd(peer, piece, offset, length, stored) {
      observer.payload('in', peer.connection.transport, length, peer.role);
      fetching?.blockEnd(peer, piece, offset, length, stored);
    },
    arrived: (peer) => fetching?.fill(peer),
    sent(peer, bytes) {
      observer.payload('out', peer.connection.transport, bytes, peer.role);
      if (!peer.closed) sharing.sent(peer, bytes);
    },
    served: (peer, piece) => sharing.served(peer, piece),
    introduced(peer, { port, seed }) {
      if (peer.address === undefined && port !== undefined) {
        const host = peer.connection.host.replace(/^::ffff:/, '');
        peer.address = dialer.find(host, port) ?? { host, port };
        dialer.connected(peer.address);
      }
      fetching?.introduced(peer, holdings.bits(peer), seed === true);
    },
    unreadable(error) {
      log.error({ err: error }, 'blob cannot be read');
      if (owned) completed.reject(error);
      else observer.seedUnreadable(infoHash, error);
      void close('blob cannot be read');
    },
    offended(peer, reason) {
      log.warn({ peer: peer.label, reason }, 'member broke the protocol');
      commons.bans.add({ ...nameOf(peer.connection), peerId: peer.peerId, label: peer.label }, now());
    },
    closed(peer, reason) {
      if (peers.get(peer.peerId) === peer) peers.delete(peer.peerId);
      holdings.leave(peer);
      sharing.leave(peer);
      fetching?.leave(peer);
      log.debug({ peer: peer.label, reason }, 'disconnected');
      observer.disconnected(peer.connection.transport);
      if (peer.address !== undefined) dialer.disconnected(peer.address, peer.bytesIn > 0);
      if (peers.size === 0) lonelySince = now();
      if (!closed) meetMore();
    },
  };

  function partIfBothComplete(peer: Peer): void {
    if (!peer.closed && complete() && holdings.isComplete(peer)) peer.close(REASON_COMPLETE);
  }

  /** Whether a second connection with a member replaces the first; both sides come to the same answer. */
  function replaces(old: Peer, connection: Connection): boolean {
    if (old.connection.incoming === connection.incoming) {
      const { host, memberId } = old.connection;
      return host === connection.host && memberId === connection.memberId;
    }
    if (now() - old.connectedAt > CROSSING_MS) return false;
    const dialledBySmaller = connection.incoming ? old.peerId < commons.peerId : commons.peerId < old.peerId;
    return dialledBySmaller;
  }

  function welcome(connection: Connection, greeting: Greeting, address: PeerAddress | undefined): void {
    const { peerId, fast, extended } = greeting.handshake;
    const refusal = refusalOf(peerId, connection);
    if (refusal !== undefined) {
      const known = peers.get(peerId);
      if (known !== undefined && address !== undefined) {
        known.address ??= address;
        dialer.connected(address);
      }
      connection.close(refusal);
      throw new Error(refusal);
    }
    peers.get(peerId)?.close('replaced by a newer connection');
    const peer = createPeer({
      connection,
      peerId,
      fast,
      extended,
      address,
      pieceCount: count,
      pieceLength: metainfo.pieceLength,
      pieceSize: (piece) => pieceSize(metainfo, piece),
      info: metainfo.info,
      holds: (piece) => store.has(piece),
      recall: (position, into) => fetching?.recall(position, into) === true,
      read: (position, into) => store.read(position, into),
      memory: commons.sendMemory,
      uploadLimiter: commons.uploadLimiter,
      asked,
      listenPort: commons.listenPort(),
      ourZone: commons.zone,
      events,
      now,
    });
    peers.set(peerId, peer);
    lonelySince = undefined;
    if (address !== undefined) dialer.connected(address);
    observer.connected(connection.transport);
    holdings.join(peer);
    fetching?.join(peer);
    sharing.join(peer);
    peer.start(greeting.rest());
    commons.wake();
  }

  function refusalOf(peerId: string, connection: Connection): string | undefined {
    if (closed) return 'the blob was closed';
    if (peerId === commons.peerId) return 'this is ourselves';
    if (commons.bans.has({ peerId, ...nameOf(connection) }, now())) return 'banned';
    const old = peers.get(peerId);
    if (old !== undefined && !replaces(old, connection)) return 'connected already';
    return undefined;
  }

  async function close(reason: string): Promise<void> {
    if (closed) return;
    closed = true;
    for (const stop of growing) stop();
    fetching?.close();
    sharing.close();
    for (const peer of [...peers.values()]) peer.close(reason);
    completed.reject(new Error(reason));
    options.ended();
    const last = seed;
    seed = undefined;
    await last?.close();
  }

  function startFetching(): Fetching {
    return createFetching({
      metainfo,
      store,
      memory: commons.pieceMemory,
      verifier: commons.verifier,
      limiter: commons.downloadLimiter,
      asked,
      log,
      now,
      name: commons.peerId,
      told: holdings.has,
      far: (peer) => distance(peer) > 0,
      settled(piece, source) {
        sharing.gained(piece);
        for (const listener of listeners) listener(piece, source);
      },
      completed() {
        for (const peer of [...peers.values()]) {
          peer.setInterested(false);
          partIfBothComplete(peer);
        }
        sharing.completed();
        completed.resolve();
      },
      failed(error) {
        log.error({ err: error }, 'download failed');
        completed.reject(error);
        void close('the store failed');
      },
      rejected: (_piece, sender) => observer.pieceRejected(infoHash, sender.label),
      ban,
    });
  }

  function createDownload(fetch: Fetching): SwarmDownload {
    return {
      addPeers(addresses) {
        dialer.add(addresses.filter(commons.reachable));
        meetMore();
      },
      discovered() {
        discovered = true;
        meetMore();
      },
      prioritise: (from, to) => fetch.prioritise(from, to),
      recall: (position, into) => fetch.recall(position, into),
      lend: fetch.lend,
      giveBack: fetch.giveBack,
      pace: fetch.pace,
      spareOrigin(wanted) {
        spared = wanted;
        fetch.spareOrigin(wanted);
        meetMore();
      },
      offer: (piece, bytes, source) => fetch.offer(piece, bytes, source),
      onPiece: (listener) => void listeners.push(listener),
      stats(): DownloadStats {
        let connectedAgents = 0;
        for (const peer of peers.values()) if (peer.role !== 'origin') connectedAgents++;
        return { connectedPeers: peers.size, connectedAgents, ...fetch.stats() };
      },
      completed: completed.promise,
      seedFrom(next) {
        if (closed) {
          void next.close();
          return;
        }
        store = next;
        seed = next;
        owned = false;
        if (peers.size === 0) lonelySince = now();
        commons.wake();
      },
      close: () => close('the download was closed'),
    };
  }

  if (!('seed' in options)) {
    const fetch = startFetching();
    fetching = fetch;
    if (fetch.done) completed.resolve();
    if (metainfo.growth !== undefined) {
      growing.push(metainfo.growth.onMore(() => fetch.learn()));
      fetch.learn();
    }
  }
  if (complete()) sharing.completed();
  if (seed?.onPiece !== undefined) growing.push(seed.onPiece((piece) => sharing.gained(piece)));
  const blob: Blob = {
    infoHash,
    digest: metainfo.digest,
    get peers() {
      return peers.values();
    },
    get owned() {
      return owned;
    },
    get active() {
      return owned || peers.size > 0;
    },
    get idleSince() {
      return owned ? undefined : lonelySince;
    },
    refusal: (connection, { handshake }) => refusalOf(handshake.peerId, connection),
    welcome,
    tick(at) {
      for (const peer of [...peers.values()]) peer.tick(at);
      fetching?.tick(at);
      sharing.tick(at);
      meetMore();
    },
    close,
  };
  return { blob, download: fetching === undefined ? undefined : createDownload(fetching) };
}
