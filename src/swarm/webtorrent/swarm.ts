/**
 * The swarm over WebTorrent 3 and plain TCP. WebTorrent keeps the protocol state machine of each
 * wire, assembles and hashes pieces, and throttles. It listens, dials, discovers and picks nothing
 * by itself here: what it would do with strangers, and with members that misbehave, is not enough.
 */
import { randomBytes } from 'node:crypto';
import { connect, type Server, type Socket } from 'node:net';
import WebTorrent from 'webtorrent';
import type { InfoHash } from '#torrent';
import type { PeerInfo, Swarm, SwarmOptions } from '../port.ts';
import { banKeys, createBans } from './bans.ts';
import { createBlockCache } from './block-cache.ts';
import type { Connection } from './connection.ts';
import { type ActiveDownload, startDownload } from './download.ts';
import { type Introduction, openGate } from './gate.ts';
import type { Member } from './members.ts';
import type { EngineParts, OpenBlob } from './open-blob.ts';
import { slowRate } from './origin-use.ts';
import { createSeeds } from './seeds.ts';

const DEFAULT_MAX_CONNECTIONS = 500;
const DEFAULT_IDLE_SEED_MS = 30_000;
const TICK_MS = 250;
const DIAL_MS = 5_000;
const TCP_KEEP_ALIVE_MS = 60_000;

/** Starts the engine. Rejects when the listener cannot be bound. */
export async function createSwarm(options: SwarmOptions): Promise<Swarm> {
  const { log, observer } = options;
  const maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS;
  const peerId = Buffer.concat([Buffer.from('-SH0001-'), randomBytes(12)]).toString('hex');
  const { client, server } = await startClient(options, peerId);
  const bound = options.listen && server.address();
  const address = bound && typeof bound === 'object' ? { host: bound.address, port: bound.port } : undefined;

  const bans = createBans();
  const downloads = new Map<InfoHash, ActiveDownload>();
  const dialling = new Set<Socket>();
  let closing: Promise<void> | undefined;

  const parts: EngineParts = {
    client,
    cache: createBlockCache(),
    observer,
    listenPort: () => address?.port,
    ownPeerId: peerId,
    isBanned: (id) => bans.banned([`id:${id}`]),
    ban: (connection, reason) => {
      const forMs = bans.ban(banKeys(connection));
      log.warn({ peer: connection.address, reason, forMs }, 'a peer misbehaved and is refused for a while');
    },
  };
  const seeds = createSeeds({
    parts,
    lookup: options.lookup,
    idleMs: options.idleSeedMs ?? DEFAULT_IDLE_SEED_MS,
    log,
    woken: () => clock.start(),
  });

  const openBlobs = (): OpenBlob[] => [
    ...[...downloads.values()].map((active) => active.blob),
    ...seeds.all(),
  ];
  const connections = (): number => openBlobs().reduce((count, blob) => count + blob.connections.size, 0);
  const hasRoom = (): boolean => connections() + gate.pending() + dialling.size < maxConnections;

  const admit = async (guest: Introduction): Promise<boolean> => {
    if (guest.peerId === peerId || bans.banned(banKeys({ ...guest, direction: 'in' }))) return false;
    const blob = downloads.get(guest.infoHash)?.blob ?? (await seeds.open(guest.infoHash));
    if (!blob) return false;
    await blob.ready;
    if (closing || blob.closed || guest.socket.destroyed) return false;
    keepAlive(guest.socket);
    blob.attach({ socket: guest.socket, direction: 'in', host: guest.host, port: guest.port, role: 'agent' });
    return true;
  };
  const gate = openGate({ server, hasRoom, admit });

  /** One clock for everything; it runs only while a blob is open. */
  const clock = createClock((now) => {
    seeds.sweep(now);
    for (const active of downloads.values()) {
      active.blob.sweep(now, Number.POSITIVE_INFINITY);
      active.tick(now);
    }
    return downloads.size + seeds.size() > 0;
  });

  const dial = async (blob: OpenBlob, member: Member): Promise<Connection | undefined> => {
    if (closing || blob.closed || !hasRoom()) return undefined;
    const { host, port, role } = member;
    if (address && port === address.port && host === address.host) return undefined;
    const socket = connect({ host, port, noDelay: true });
    dialling.add(socket);
    try {
      if (!(await connected(socket)) || closing || blob.closed) {
        socket.destroy();
        return undefined;
      }
    } finally {
      dialling.delete(socket);
    }
    keepAlive(socket);
    return blob.attach({ socket, direction: 'out', host, port, role });
  };

  const swarm: Swarm = {
    address,
    peerId,
    download: ({ metainfo, store }) => {
      const { infoHash } = metainfo;
      if (closing !== undefined) throw new Error('the swarm is closed');
      if (downloads.has(infoHash)) throw new Error(`${infoHash} is being downloaded already`);
      // It was seeded and is wanted again: its bytes are gone, so the old seed must not answer.
      seeds.release(infoHash).catch(() => {});
      const active = startDownload({
        parts,
        metainfo,
        store,
        slowBytesPerSecond: slowRate(options.downloadRateBytesPerSecond),
        isBannedAddress: (member) => bans.banned([`address:${member.host}:${member.port}`]),
        dial,
        becomeSeed: (blob, seed) => {
          if (downloads.get(infoHash)?.blob === blob) downloads.delete(infoHash);
          seeds.adopt(blob, seed);
        },
        ended: () => {
          if (downloads.get(infoHash) === active) downloads.delete(infoHash);
        },
        unreadableSeed: (error) => seeds.unreadable(infoHash, error),
      });
      downloads.set(infoHash, active);
      clock.start();
      return active.handle;
    },
    release: (infoHash) => seeds.release(infoHash),
    peers: () => openBlobs().flatMap(peerInfos),
    openBlobs: () => downloads.size + seeds.size(),
    close: () => {
      closing ??= (async () => {
        gate.close();
        for (const socket of dialling) socket.destroy();
        const reason = new Error('the swarm was closed');
        await Promise.allSettled([...downloads.values()].map((active) => active.end(reason)));
        await seeds.close();
        clock.stop();
        await new Promise<void>((resolve) => client.destroy(() => resolve()));
      })();
      return closing;
    },
  };
  return swarm;
}

/**
 * WebTorrent always opens a listener, on all interfaces if it may choose. It gets ours to open, and
 * what it would do with a connection is taken away: the gate decides that. Without a listener it
 * gets a port of the loopback, which is closed as soon as it is bound.
 */
async function startClient(
  options: SwarmOptions,
  peerId: string,
): Promise<{ readonly client: WebTorrent; readonly server: Server }> {
  const client = new WebTorrent({
    peerId,
    torrentPort: options.listen ?? { host: '127.0.0.1', port: 0 },
    dht: false,
    lsd: false,
    utPex: false,
    natUpnp: false,
    natPmp: false,
    utp: false,
    tracker: false,
    webSeeds: false,
    secure: 0,
    downloadLimit: wholeRate(options.downloadRateBytesPerSecond),
    uploadLimit: wholeRate(options.uploadRateBytesPerSecond),
  });
  const { tcpServer: server, _onTCPConnectionBound } = client._connPool;
  server.off('connection', _onTCPConnectionBound);
  await new Promise<void>((resolve, reject) => {
    client.once('listening', resolve);
    client.on('error', (error: unknown) => {
      options.log.error({ err: error }, 'the swarm engine failed');
      reject(error instanceof Error ? error : new Error(String(error)));
    });
  });
  if (!options.listen) server.close();
  return { client, server };
}

/** WebTorrent takes whole numbers; -1 is no limit. */
function wholeRate(bytesPerSecond: number | undefined): number {
  return bytesPerSecond === undefined ? -1 : Math.max(1, Math.floor(bytesPerSecond));
}

function keepAlive(socket: Socket): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, TCP_KEEP_ALIVE_MS);
}

function connected(socket: Socket): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const deadline = setTimeout(() => socket.destroy(), DIAL_MS);
  socket.on('error', () => {});
  socket.once('connect', () => resolve(true));
  socket.once('close', () => resolve(false));
  return promise.finally(() => clearTimeout(deadline));
}

function peerInfos(blob: OpenBlob): PeerInfo[] {
  return [...blob.connections]
    .filter((connection) => connection.peerId !== undefined)
    .map((connection) => ({
      infoHash: blob.metainfo.infoHash,
      address: connection.address,
      transport: 'tcp',
      role: connection.role,
      bytesIn: connection.bytesIn,
      bytesOut: connection.bytesOut,
    }));
}

/** Calls `tick` four times a second from `start` on, until it returns false. */
function createClock(tick: (now: number) => boolean): { start(): void; stop(): void } {
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    clearInterval(timer);
    timer = undefined;
  };
  return {
    start: () => {
      timer ??= setInterval(() => {
        if (!tick(performance.now())) stop();
      }, TICK_MS);
    },
    stop,
  };
}
