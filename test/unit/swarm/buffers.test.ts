/** A buffer that is being hashed or stored gets no other bytes, whatever happens to its piece meanwhile. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { type InfoHash, pieceHash } from '#torrent';
import {
  type Commons,
  createBans,
  createBlob,
  createPieceMemory,
  type Verifier,
} from '../../../src/swarm/blob/index.ts';
import { createSendMemory } from '../../../src/swarm/peer/index.ts';
import { createRateLimiter } from '../../../src/swarm/rate/index.ts';
import type { Connection } from '../../../src/swarm/transport/index.ts';
import { countingObserver, makeBlob, memoryStore, quiet, until } from '../../integration/swarm-support.ts';
import { memoryPair } from '../../support/memory-connection.ts';
import { message } from '../../support/raw-peer.ts';

const BLOCK_BYTES = 16_384;
const PEER_ID = '58'.repeat(20);

/** Hashes when the test lets it, as a thread that is late does. */
function lateVerifier(): Verifier & { readonly asked: (() => void)[] } {
  const asked: (() => void)[] = [];
  return {
    asked,
    sha1: (bytes) =>
      new Promise((resolve) => {
        asked.push(() => resolve(createHash('sha1').update(bytes).digest()));
      }),
    close: () => undefined,
  };
}

function commonsWith(verifier: Verifier): { commons: Commons; counts: ReturnType<typeof countingObserver> } {
  const counts = countingObserver();
  const commons: Commons = {
    peerId: '41'.repeat(20),
    zone: undefined,
    listenPort: () => undefined,
    observer: counts.observer,
    log: quiet,
    now: () => performance.now(),
    sendMemory: createSendMemory(1 << 24),
    pieceMemory: createPieceMemory(1 << 24),
    verifier,
    uploadLimiter: createRateLimiter(undefined),
    downloadLimiter: createRateLimiter(undefined),
    bans: createBans(),
    reachable: () => true,
    room: () => true,
    meet: () => Promise.reject(new Error('nobody is dialled')),
    wake: () => undefined,
  };
  return { commons, counts };
}

/**
 * A member that has everything, made of the other end of a connection. It sends the first piece
 * that it is asked for, and what it is asked for besides once `rest` is called.
 */
function seedAt(them: Connection, blob: ReturnType<typeof makeBlob>): { first: number; rest: () => void } {
  let pending = Buffer.alloc(0);
  let waiting: (() => void)[] | undefined = [];
  const seed = {
    first: -1,
    rest() {
      for (const send of waiting ?? []) send();
      waiting = undefined;
    },
  };
  them.attach({
    closed: () => undefined,
    data(chunk) {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 4 && pending.length >= 4 + pending.readUInt32BE(0)) {
        const length = pending.readUInt32BE(0);
        const body = pending.subarray(4, 4 + length);
        pending = pending.subarray(4 + length);
        if (body[0] !== 6) continue;
        const [piece, offset, size] = [body.readUInt32BE(1), body.readUInt32BE(5), body.readUInt32BE(9)];
        if (seed.first < 0) seed.first = piece;
        const at = piece * blob.metainfo.pieceLength + offset;
        const send = (): void => {
          them.write([message(7, [piece, offset], blob.bytes.subarray(at, at + size))]);
        };
        if (waiting === undefined || piece === seed.first) send();
        else waiting.push(send);
      }
    },
  });
  them.write([Buffer.concat([message(14), message(1)])]);
  return seed;
}

const greeting = (infoHash: InfoHash) => ({
  handshake: { infoHash, peerId: PEER_ID, fast: true, extended: false },
  rest: () => Buffer.alloc(0),
});

t.test('a piece that comes by HTTP while it is hashed costs its sender nothing', async (t) => {
  const blob = makeBlob(6 * 16 * BLOCK_BYTES);
  const store = memoryStore(blob.metainfo);
  const verifier = lateVerifier();
  const { commons, counts } = commonsWith(verifier);
  const { blob: open, download } = createBlob({
    metainfo: blob.metainfo,
    store,
    commons,
    ended: () => undefined,
  });
  if (download === undefined) throw new Error('not a download');
  const { dialled, accepted } = memoryPair();
  const seed = seedAt(dialled, blob);
  open.welcome(accepted, greeting(blob.metainfo.infoHash), undefined);
  await until(() => verifier.asked.length > 0, 'the first piece');
  const piece = seed.first;
  const at = piece * blob.metainfo.pieceLength;
  const good = blob.bytes.subarray(at, at + blob.metainfo.pieceLength);
  t.ok(await download.offer(piece, good, 'origin-http'));
  // The buffers of the pieces that follow are filled before the late hash is there.
  seed.rest();
  await until(() => {
    open.tick(performance.now());
    return verifier.asked.length > 1;
  }, 'more pieces');
  const timer = setInterval(() => {
    for (const answer of verifier.asked.splice(0)) answer();
    open.tick(performance.now());
  }, 5);
  t.teardown(() => clearInterval(timer));
  await download.completed;
  t.ok(store.bytes.equals(blob.bytes));
  t.strictSame(counts.rejected, [], 'nobody was blamed');
  await open.close('over');
});

t.test('a buffer that is being stored when the download is closed gets no other use', async (t) => {
  const memory = createPieceMemory(1 << 24);
  const blob = makeBlob(4 * 16 * BLOCK_BYTES);
  const verifier = lateVerifier();
  const { commons } = commonsWith(verifier);
  const written = Promise.withResolvers<Uint8Array>();
  const { blob: open, download } = createBlob({
    metainfo: blob.metainfo,
    store: {
      has: () => false,
      read: async () => undefined,
      // A disk that takes long.
      write: (_piece, bytes) => {
        written.resolve(bytes);
        return new Promise<void>(() => undefined);
      },
    },
    commons: { ...commons, pieceMemory: memory },
    ended: () => undefined,
  });
  download?.completed.catch(() => undefined);
  const { dialled, accepted } = memoryPair();
  seedAt(dialled, blob).rest();
  open.welcome(accepted, greeting(blob.metainfo.infoHash), undefined);
  await until(() => {
    for (const answer of verifier.asked.splice(0)) answer();
    return dialled.unsent === 0 && memory.left < 1 << 24;
  }, 'the pieces');
  const inFlight = setInterval(() => {
    for (const answer of verifier.asked.splice(0)) answer();
  }, 5);
  const bytes = await written.promise;
  clearInterval(inFlight);
  const before = createHash('sha1').update(bytes).digest();
  // Another blob keeps the memory in use, so that buffers are kept for it.
  const other = memory.take(1, true);
  await open.close('over');
  for (let take = 0; take < 8; take++) {
    const buffer = memory.take(blob.metainfo.pieceLength, true);
    new Uint8Array(buffer ?? new SharedArrayBuffer(0)).fill(0xee);
  }
  t.ok(other);
  t.strictSame(createHash('sha1').update(bytes).digest(), before);
  t.ok(
    [0, 1, 2, 3].some((piece) => before.equals(pieceHash(blob.metainfo, piece))),
    'they were the bytes of a piece',
  );
});
