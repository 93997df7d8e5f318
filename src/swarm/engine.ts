/**
 * The engine behind the Swarm port: one listener, one clock, and the blobs that are open now. A
 * blob that nobody asks for is not open: it costs no socket, file, timer or memory.
 */
import { randomBytes } from 'node:crypto';
import { formatMultiaddr, plainPort } from '#multiaddr';
import type { InfoHash } from '#torrent';
import {
  type Blob,
  type Commons,
  createBans,
  createBlob,
  createPieceMemory,
  createVerifier,
} from './blob/index.ts';
import type { createOverlay } from './overlay/index.ts';
import { createSendMemory, type Peer } from './peer/index.ts';
import type { PeerAddress, PeerInfo, Swarm, SwarmOptions, Transport } from './port.ts';
import { createRateLimiter } from './rate/index.ts';
import {
  awaitHandshake,
  type Connection,
  dialTcp,
  type Greeting,
  type Libp2pNode,
  listenTcp,
  nameOf,
  type TcpListener,
} from './transport/index.ts';
import { encodeHandshake } from './wire/index.ts';

const DIAL_DEADLINE_MS = 3_000;
/** How members are reached when nobody says otherwise, the preferred first. */
export const DEFAULT_TRANSPORTS: readonly Transport[] = ['libp2p', 'tcp'];
/** Who was dialled and does not greet keeps others from being dialled. */
const GREETING_DEADLINE_MS = 5_000;
const HANDSHAKE_DEADLINE_MS = 10_000;
const LOOKUP_DEADLINE_MS = 10_000;
const DEFAULT_MAX_CONNECTIONS = 500;
const DEFAULT_IDLE_SEED_MS = 30_000;

/** Bounds over all blobs: pieces in progress, and blocks on their way out. */
const PIECE_MEMORY_BYTES = 24 * 1024 * 1024;
const SEND_MEMORY_BYTES = 24 * 1024 * 1024;

/** The clock's pace while something is downloaded, and while blobs are only seeded. */
const BUSY_TICK_MS = 100;
const QUIET_TICK_MS = 1_000;

/** Azureus-style: two letters of the client, four digits of its version. */
const PEER_ID_PREFIX = '-SH0100-';

/** Starts a swarm; resolves when it listens. Rejects when the address cannot be bound. */
export async function createSwarm(options: SwarmOptions): Promise<Swarm> {
  const { observer, log } = options;
  const now = (): number => performance.now();
  const peerId = Buffer.concat([Buffer.from(PEER_ID_PREFIX), randomBytes(12)]).toString('hex');
  const maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS;
  const idleSeedMs = options.idleSeedMs ?? DEFAULT_IDLE_SEED_MS;
  const blobs = new Map<InfoHash, Blob>();
  const opening = new Map<InfoHash, Promise<Blob | undefined>>();
  /** Blobs that were released while they were being opened. */
  const released = new Set<InfoHash>();
  const connections = new Set<Connection>();
  const stopping = new AbortController();
  let dialling = 0;
  let timer: NodeJS.Timeout | undefined;
  let hurried = false;
  let node: Libp2pNode | undefined;
  let listener: TcpListener | undefined;
  let overlay: Awaited<ReturnType<typeof createOverlay>> | undefined;
  const transports = options.transports ?? DEFAULT_TRANSPORTS;

  const commons: Commons = {
    peerId,
    zone: options.zone,
    listenPort: () => listener?.address.port ?? node?.address?.port,
    observer,
    log,
    now,
    sendMemory: createSendMemory(SEND_MEMORY_BYTES),
    pieceMemory: createPieceMemory(PIECE_MEMORY_BYTES),
    verifier: createVerifier(),
    uploadLimiter: createRateLimiter(options.uploadRateBytesPerSecond),
    downloadLimiter: createRateLimiter(options.downloadRateBytesPerSecond),
    bans: createBans(),
    reachable: (address) => transports.some((transport) => speaks(address, transport)),
    room: () => connections.size + dialling < maxConnections && !stopping.signal.aborted,
    meet,
    wake,
  };

  /** Whether the member and we both speak this transport. Nobody dials itself. */
  function speaks(address: PeerAddress, transport: Transport): boolean {
    if (transport === 'tcp') return plainPort(address) !== undefined;
    return node !== undefined && address.libp2p !== undefined && address.libp2p.peerId !== node.peerId;
  }

  /** Dials by the first transport that we have in common with the member and that reaches it. */
  async function dial(address: PeerAddress): Promise<Connection> {
    const patience = { deadlineMs: DIAL_DEADLINE_MS, signal: stopping.signal };
    let failure: unknown = new Error('no transport in common');
    for (const transport of transports) {
      if (!speaks(address, transport)) continue;
      try {
        if (transport === 'tcp') return await dialTcp(address, patience);
        if (node !== undefined && address.libp2p !== undefined) {
          return await node.dial({ host: address.host, ...address.libp2p }, patience);
        }
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  async function meet(
    address: PeerAddress,
    infoHash: InfoHash,
  ): Promise<{ connection: Connection; greeting: Greeting }> {
    dialling++;
    let connection: Connection;
    try {
      connection = await dial(address);
    } finally {
      dialling--;
    }
    track(connection);
    connection.write([encodeHandshake(infoHash, peerId)]);
    const greeting = await awaitHandshake(connection, GREETING_DEADLINE_MS);
    if (greeting.handshake.infoHash === infoHash) return { connection, greeting };
    connection.close('another blob than asked for');
    throw new Error('another blob than asked for');
  }

  function track(connection: Connection): void {
    connections.add(connection);
    connection.onClosed(() => connections.delete(connection));
  }

  async function accept(connection: Connection): Promise<void> {
    const name = nameOf(connection);
    if (!commons.room()) return connection.close('too many connections');
    if (commons.bans.has(name, now())) return connection.close('banned');
    track(connection);
    try {
      const greeting = await awaitHandshake(connection, HANDSHAKE_DEADLINE_MS);
      const { infoHash } = greeting.handshake;
      const blob = blobs.get(infoHash) ?? (await open(infoHash));
      const refusal = blob === undefined ? 'unknown blob' : blob.refusal(connection, greeting);
      if (blob === undefined || refusal !== undefined) return connection.close(refusal ?? '');
      connection.write([encodeHandshake(infoHash, peerId)]);
      blob.welcome(connection, greeting, undefined);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log.debug({ peer: name.label, reason }, 'connection refused');
      connection.close(reason);
    }
  }

  /** Opens a blob that an incoming handshake names; many at once ask `lookup` once. */
  function open(infoHash: InfoHash): Promise<Blob | undefined> {
    const running = opening.get(infoHash);
    if (running !== undefined) return running;
    const started = lookUp(infoHash).finally(() => {
      opening.delete(infoHash);
      released.delete(infoHash);
    });
    opening.set(infoHash, started);
    return started;
  }

  async function lookUp(infoHash: InfoHash): Promise<Blob | undefined> {
    const deadline = Promise.withResolvers<never>();
    const late = setTimeout(() => deadline.reject(new Error('look-up took too long')), LOOKUP_DEADLINE_MS);
    const asked = options.lookup(infoHash);
    try {
      const seed = await Promise.race([asked, deadline.promise]);
      if (seed === undefined) return undefined;
      const running = blobs.get(infoHash);
      if (running !== undefined || stopping.signal.aborted || released.has(infoHash)) {
        await seed.store.close();
        return running;
      }
      const { blob } = createBlob({
        metainfo: seed.metainfo,
        seed: seed.store,
        commons,
        ended: () => forget(blob),
      });
      blobs.set(infoHash, blob);
      wake();
      return blob;
    } catch (error) {
      void asked.then((seed) => seed?.store.close()).catch(() => undefined);
      throw error;
    } finally {
      clearTimeout(late);
    }
  }

  function forget(blob: Blob): void {
    if (blobs.get(blob.infoHash) === blob) blobs.delete(blob.infoHash);
  }

  /** Sets the clock going, or faster; it stands still while no blob is open. */
  function wake(): void {
    if (blobs.size === 0) return;
    const busy = [...blobs.values()].some((blob) => blob.active);
    if (timer !== undefined && (hurried || !busy)) return;
    clearTimeout(timer);
    hurried = busy;
    timer = setTimeout(tick, busy ? BUSY_TICK_MS : QUIET_TICK_MS);
  }

  function tick(): void {
    timer = undefined;
    const at = now();
    for (const blob of [...blobs.values()]) {
      blob.tick(at);
      const { idleSince } = blob;
      if (idleSince === undefined || at - idleSince < idleSeedMs) continue;
      blob.close('idle').catch((error: unknown) => log.warn({ err: error }, 'idle blob not closed'));
    }
    wake();
  }

  async function startNode(): Promise<Libp2pNode | undefined> {
    const { identity, admit, peerListen } = options;
    if (identity === undefined || !transports.includes('libp2p')) return undefined;
    // Loaded only when it is wanted: libp2p is most of what this room loads.
    const { createLibp2pNode } = await import('./transport/libp2p/index.ts');
    return createLibp2pNode({
      identity,
      listen: peerListen,
      admit: (memberId) =>
        admit?.(memberId) !== false && !commons.bans.has({ host: memberId, label: memberId }, now()),
      membership: options.membership,
      accept: (connection) => void accept(connection),
      maxConnections,
    });
  }

  async function startOverlay(): Promise<void> {
    if (node === undefined || options.overlay === undefined) return;
    const { createOverlay } = await import('./overlay/index.ts');
    overlay = await createOverlay({
      node,
      overlay: options.overlay,
      ban: (memberId) => commons.bans.add({ host: memberId, peerId: memberId, label: memberId }, now()),
      log,
    });
  }

  node = await startNode();
  try {
    await startOverlay();
    if (options.listen !== undefined) {
      listener = await listenTcp(options.listen, (connection) => void accept(connection));
    }
  } catch (error) {
    await overlay?.close();
    await node?.close();
    throw error;
  }

  return {
    ...(overlay !== undefined && { overlay }),
    address: listener?.address,
    libp2p: node?.address === undefined ? undefined : { ...node.address, peerId: node.peerId },
    peerId,
    download({ metainfo, store }) {
      if (stopping.signal.aborted) throw new Error('the swarm is closed');
      const running = blobs.get(metainfo.infoHash);
      if (running?.owned) throw new Error(`${metainfo.infoHash} is being downloaded already`);
      void running?.close('the blob is downloaded anew');
      const { blob, download } = createBlob({ metainfo, store, commons, ended: () => forget(blob) });
      if (download === undefined) throw new Error('not a download');
      blobs.set(metainfo.infoHash, blob);
      wake();
      return download;
    },
    async release(infoHash, digest) {
      if (opening.has(infoHash)) released.add(infoHash);
      for (const blob of [...blobs.values()]) {
        const isMeant = blob.infoHash === infoHash || blob.digest === digest;
        if (isMeant && !blob.owned) await blob.close('released');
      }
    },
    limit(rates) {
      commons.uploadLimiter.setRate(rates.uploadRateBytesPerSecond);
      commons.downloadLimiter.setRate(rates.downloadRateBytesPerSecond);
    },
    peers() {
      const infos: PeerInfo[] = [];
      for (const blob of blobs.values()) {
        for (const peer of blob.peers) {
          infos.push({
            infoHash: blob.infoHash,
            address: shownAddress(peer),
            transport: peer.connection.transport,
            role: peer.role,
            bytesIn: peer.bytesIn,
            bytesOut: peer.bytesOut,
            interested: peer.interested,
          });
        }
      }
      return infos;
    },
    openBlobs: () => blobs.size,
    async close() {
      stopping.abort();
      clearTimeout(timer);
      const listening = listener?.close();
      await Promise.allSettled([...opening.values()]);
      await Promise.allSettled([...blobs.values()].map((blob) => blob.close('the swarm was closed')));
      for (const connection of [...connections]) connection.close('the swarm was closed');
      commons.verifier.close();
      commons.uploadLimiter.close();
      commons.downloadLimiter.close();
      await overlay?.close();
      await node?.close();
      await listening;
    },
  };
}

/** Where a peer is reached, as people write it: HOST:PORT, or a multiaddr for libp2p. */
function shownAddress({ address, connection, label }: Peer): string {
  const { memberId } = connection;
  if (memberId === undefined) return label;
  const host = address?.host ?? connection.host.replace(/^::ffff:/, '');
  return formatMultiaddr({ host, port: address?.libp2p?.port ?? connection.port, peerId: memberId });
}
