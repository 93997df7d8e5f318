/**
 * A member of the rate bench in a process of its own, on the real engine:
 *
 *     member.ts seed SIZE [RATE]            seeds a blob, at most RATE bytes a second up
 *     member.ts get SIZE COUNT PORTS [RATE] COUNT downloads by swarms of their own, from all PORTS;
 *                                           each at most RATE bytes a second down
 *
 * Says JSON lines: the port of a seed; then, for each line `count` on standard input, the bytes that each
 * download has so far. The bytes are the payload as the engine tells its owner. Blobs are of pattern bytes
 * that are made as they are read, and what is received is checked by its hash and thrown away, so that
 * no disk takes part.
 */
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import { toSha256Digest } from '#oci';
import { createSwarm, type PieceStore, type SeedStore, type Swarm, type SwarmObserver } from '#swarm';
import { createLogger } from '#telemetry';
import { createMetainfo, type Metainfo, pieceCount, pieceLengthFor } from '#torrent';

const [role = '', size = '0', ...rest] = process.argv.slice(2);
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

function start(rates: { up?: number; down?: number }, onPayload: SwarmObserver['payload']): Promise<Swarm> {
  return createSwarm({
    listen: role === 'seed' ? { host: '127.0.0.1', port: 0 } : undefined,
    transports: ['tcp'],
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

if (role === 'seed') {
  const up = optional(rest[0]);
  counts.push(0);
  const swarm = await start({ ...(up !== undefined && { up }) }, (direction, _transport, bytes) => {
    if (direction === 'out') counts[0] = (counts[0] ?? 0) + bytes;
  });
  say({ port: swarm.address?.port });
} else {
  const [count = '1', ports = '', rate] = rest;
  const down = optional(rate);
  for (let index = 0; index < Number(count); index += 1) {
    counts.push(0);
    const swarm = await start({ ...(down !== undefined && { down }) }, (direction, _transport, bytes) => {
      if (direction === 'in') counts[index] = (counts[index] ?? 0) + bytes;
    });
    const download = swarm.download({ metainfo, store: forgetfulStore() });
    download.completed.catch(nothing);
    download.addPeers(ports.split(',').map((port) => ({ host: '127.0.0.1', port: Number(port) })));
    download.discovered();
  }
  say({});
}
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'count') say({ atMs: performance.timeOrigin + performance.now(), counts });
}
process.exit(0);
