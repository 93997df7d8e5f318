/**
 * A member of the rate bench in a process of its own, on the real engine:
 *
 *     member.ts TRANSPORT seed SIZE [RATE]            seeds a blob, at most RATE bytes a second up
 *     member.ts TRANSPORT get SIZE COUNT SEEDS [RATE] COUNT downloads by swarms of their own, from all SEEDS;
 *                                                     each at most RATE bytes a second down
 *
 * SEEDS are ports of the loopback, over libp2p PORT/PEER-ID. Says JSON lines: a seed's own; then, for each line
 * `count` on standard input, the bytes that each download has so far. The line `rate N` sets the rate anew. The bytes are the payload as the engine tells its owner. Blobs are of pattern bytes
 * that are made as they are read, and what is received is checked by its hash and thrown away, so that
 * no disk takes part.
 */
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import { toSha256Digest } from '#oci';
import {
  createIdentity,
  createSwarm,
  type PeerAddress,
  type PieceStore,
  type SeedStore,
  type Swarm,
  type SwarmObserver,
} from '#swarm';
import { createLogger } from '#telemetry';
import { createMetainfo, type Metainfo, pieceCount, pieceLengthFor } from '#torrent';

const [transport = '', role = '', size = '0', ...rest] = process.argv.slice(2);
const length = Number(size);
const nothing = (): void => undefined;
const log = createLogger({ program: 'bench', level: 'error' });
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

/** Every piece of the blob is this one, so that a blob of many GiB needs no file. */
function pattern(): Buffer {
  return Buffer.alloc(pieceLengthFor(length), 'the same bytes in each piece, ');
}

function describe(): { metainfo: Metainfo; piece: Buffer } {
  const piece = pattern();
  const hash = createHash('sha1').update(piece).digest();
  // Only whole pieces: the length is a multiple. The sha256 of the whole is nobody's concern here.
  const pieces = Buffer.concat(Array.from({ length: length / piece.length }, () => hash));
  return { metainfo: createMetainfo({ digest: toSha256Digest('0'.repeat(64)), length, pieces }), piece };
}
const { metainfo, piece } = describe();

const seedStore: SeedStore = {
  has: () => true,
  async read(position, into) {
    for (let at = 0; at < into.length; ) {
      at += piece.copy(into as Buffer, at, (position + at) % piece.length);
    }
  },
  write: async () => undefined,
  close: async () => undefined,
};

function forgetfulStore(): PieceStore {
  const held = new Uint8Array(pieceCount(metainfo));
  return {
    has: (index) => held[index] === 1,
    read: (position, into) => seedStore.read(position, into),
    async write(index) {
      held[index] = 1;
    },
  };
}

async function start(
  rates: { up?: number; down?: number },
  onPayload: SwarmObserver['payload'],
): Promise<Swarm> {
  const listen = role === 'seed' ? { host: '127.0.0.1', port: 0 } : undefined;
  const libp2p = transport === 'libp2p';
  return createSwarm({
    listen: libp2p ? undefined : listen,
    ...(libp2p && { identity: await createIdentity() }),
    ...(libp2p && listen && { peerListen: listen }),
    transports: [libp2p ? 'libp2p' : 'tcp'],
    lookup: async () => (role === 'seed' ? { metainfo, store: seedStore } : undefined),
    observer: {
      payload: onPayload,
      pieceRejected: nothing,
      connected: nothing,
      disconnected: nothing,
      seedUnreadable: nothing,
    },
    log,
    ...(rates.up !== undefined && { uploadRateBytesPerSecond: rates.up }),
    ...(rates.down !== undefined && { downloadRateBytesPerSecond: rates.down }),
  });
}

const optional = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : Number(text);
const counts: number[] = [];
const swarms: Swarm[] = [];

function seedAt(text: string): PeerAddress {
  const [first, peerId] = text.split('/');
  const port = Number(first);
  return { host: '127.0.0.1', port, ...(peerId !== undefined && { libp2p: { port, peerId } }) };
}

if (role === 'seed') {
  const up = optional(rest[0]);
  counts.push(0);
  const swarm = await start({ ...(up !== undefined && { up }) }, (direction, _transport, bytes) => {
    if (direction === 'out') counts[0] = (counts[0] ?? 0) + bytes;
  });
  swarms.push(swarm);
  const { libp2p } = swarm;
  say({ seed: libp2p ? `${libp2p.port}/${libp2p.peerId}` : String(swarm.address?.port) });
} else {
  const [count = '1', seeds = '', rate] = rest;
  const down = optional(rate);
  for (let index = 0; index < Number(count); index += 1) {
    counts.push(0);
    const swarm = await start({ ...(down !== undefined && { down }) }, (direction, _transport, bytes) => {
      if (direction === 'in') counts[index] = (counts[index] ?? 0) + bytes;
    });
    swarms.push(swarm);
    const download = swarm.download({ metainfo, store: forgetfulStore() });
    download.completed.catch(nothing);
    download.addPeers(seeds.split(',').map(seedAt));
    download.discovered();
  }
  say({});
}
for await (const line of createInterface({ input: process.stdin })) {
  const [word, rate] = line.split(' ');
  if (word === 'rate') {
    const limit = {
      [role === 'seed' ? 'uploadRateBytesPerSecond' : 'downloadRateBytesPerSecond']: Number(rate),
    };
    for (const swarm of swarms) swarm.limit(limit);
  }
  say({ atMs: performance.timeOrigin + performance.now(), counts });
}
process.exit(0);
