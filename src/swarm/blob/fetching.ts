/**
 * The download side of one blob: which blocks are asked of whom, what became of them, and whose
 * fault it was. It owns the picker and the pieces in progress; nothing else changes them.
 *
 * A piece's way: picked → blocks arrive in its buffer → hashed off the event loop → written once →
 * `settled`. A piece that fails its hash is fetched again whole from one member, which shows who lied.
 */
import { knownPieces, pieceCount, pieceSize } from '#torrent';
import type { Peer } from '../peer/index.ts';
import { createPicker, type PickerPeer, pipelineBlocks } from '../picker/index.ts';
import type { PieceSource } from '../port.ts';
import { createMeter } from '../rate/index.ts';
import { nameOf } from '../transport/index.ts';
import { BLOCK_BYTES } from '../wire/index.ts';
import type { Fetching, FetchingOptions } from './fetching-contract.ts';
import { createKeeping } from './keeping.ts';
import { createOriginNeed } from './origin-need.ts';
import { createPieces, type Sender } from './pieces.ts';
import { createSoon } from './soon.ts';

/**
 * Blocks that are asked for at a time, while enough are out: neighbours that are asked together are
 * read and sent together. One by one, at 100 Mbit/s over seven peers, each block costs a read, a
 * write and a wake-up on either side.
 */
const REQUEST_BATCH = 16;

/** A peer that sends nothing for so long although we asked: its blocks may be asked of others. */
const STALL_MS = 800;

/** A peer that sends nothing for so long is of no use. */
const GIVE_UP_MS = 20_000;

/** With nobody but seeds for so long, what a client waits for is asked of them although they have not shown it. */
const ONLY_SEEDS_MS = 250;

/** After a refusal the peer is left alone for this long, doubled each time until it delivers again. */
const FIRST_REFUSAL_PAUSE_MS = 50;

/** Refusals in a row after which a peer that claims pieces is a liar. */
const MAX_REFUSALS = 6;

interface Source {
  waiting: boolean;
  stalledAt: number | undefined;
  refusals: number;
  refusedUntil: number;
  far: boolean;
  seed: boolean;
}

export function createFetching(options: FetchingOptions): Fetching {
  const { metainfo, store, limiter, now } = options;
  const count = pieceCount(metainfo);
  const sizeOf = (piece: number): number => pieceSize(metainfo, piece);
  const pieces = createPieces({
    pieceLength: metainfo.pieceLength,
    pieceSize: sizeOf,
    memory: options.memory,
  });
  const picker = createPicker<Peer>({
    pieceCount: count,
    pieceSize: sizeOf,
    held: (piece) => store.has(piece),
    name: options.name,
    dropped: (piece) => pieces.close(piece),
  });
  const sources = new Map<Peer, Source>();
  /** Peer ids of members that are origins. */
  const origins = new Set<string>();
  const meter = createMeter(now());
  let bytesFromPeers = 0;
  let bytesFromOrigin = 0;
  /** Of a draft the pieces that were learnt of: for now the others are nobody's. */
  let known = metainfo.growth === undefined ? count : 0;
  let learning: Promise<void> = Promise.resolve();
  /** The pieces that clients wait for; none yet. */
  let urgent = { from: 0, to: -1 };
  let originSpared = false;
  let closed = false;
  let done = picker.missing === 0;

  const originNeed = createOriginNeed({
    sources,
    picker,
    pieceCount: count,
    holds: (piece) => store.has(piece),
    now,
  });

  /** One object a peer, kept by each of its blocks. */
  const senders = new WeakMap<Peer, Sender>();
  function senderOf(peer: Peer): Sender {
    const known = senders.get(peer);
    if (known?.label === peer.label) return known;
    const sender = { peerId: peer.peerId, label: peer.label, host: nameOf(peer.connection).host };
    senders.set(peer, sender);
    return sender;
  }

  const about = (peer: Peer): PickerPeer => ({
    far: options.far(peer),
    name: peer.peerId,
    superSeed: peer.role === 'origin',
  });

  /** Blocks that may be out at this peer. */
  function target(peer: Peer, source: Source): number {
    const at = now();
    return pipelineBlocks({
      bytesPerSecond: peer.downRate(at),
      blockBytes: BLOCK_BYTES,
      pieceBytes: metainfo.pieceLength,
      requestQueue: peer.requestQueue,
      stalled: source.stalledAt !== undefined,
      outstanding: peer.outstanding,
      totalOutstanding: options.asked.blocks,
      totalBytesPerSecond: meter.rate(at),
    });
  }

  function room(peer: Peer, source: Source): number {
    if (closed || done || peer.closed || peer.choking || source.refusedUntil > now()) return 0;
    if (peer.role === 'origin' && (originSpared || !originNeed.now())) return 0;
    const most = target(peer, source);
    const left = most - peer.outstanding;
    return left >= Math.min(REQUEST_BATCH, Math.ceil(most / 4)) ? left : 0;
  }

  function fill(peer: Peer): void {
    const source = sources.get(peer);
    if (source === undefined || source.waiting || room(peer, source) <= 0) return;
    source.waiting = true;
    limiter.ask(() => {
      source.waiting = false;
      return request(peer, source);
    });
  }

  /** One turn of asking; returns the bytes asked for. */
  function request(peer: Peer, source: Source): number {
    const most = Math.min(room(peer, source), Math.ceil(limiter.quantumBytes / BLOCK_BYTES));
    if (most <= 0) return 0;
    let bytes = 0;
    for (const { piece, offset, length } of picker.pick(peer, most, {
      maxOpenPieces: pieces.limit,
      now: now(),
    })) {
      if (pieces.ensure(piece) === undefined) {
        picker.released(peer, piece, offset);
        continue;
      }
      peer.request(piece, offset, length);
      bytes += length;
    }
    return bytes;
  }

  /** A seed that shows its pieces by and by has them all the same. */
  function unavailable(): number {
    for (const source of sources.values()) if (source.seed) return 0;
    return picker.unavailable();
  }

  /** A seed shows its pieces in its own order; who is alone with it need not wait for its turn. */
  function askSeedsForWindow(at: number): void {
    for (const [peer, source] of sources) {
      if (!source.seed || at - peer.connectedAt < ONLY_SEEDS_MS) return;
    }
    for (let piece = urgent.from; piece <= Math.min(urgent.to, known - 1); piece++) {
      if (store.has(piece) || picker.availability(piece) > 0) continue;
      for (const peer of sources.keys()) picker.have(peer, piece);
    }
  }

  const filling = createSoon(() => {
    for (const peer of sources.keys()) fill(peer);
  });

  /** What a peer has of the pieces whose hash is known. */
  function knownOf(bits: Uint8Array): Uint8Array {
    if (known === count) return bits;
    const some = bits.slice();
    for (let piece = known; piece < count; piece++) {
      some[piece >> 3] = (some[piece >> 3] ?? 0) & ~(0x80 >> (piece & 7));
    }
    return some;
  }

  /** Looks for the bytes of newly known pieces in the store, and then at who has them. */
  async function learn(): Promise<void> {
    const before = known;
    const upTo = knownPieces(metainfo);
    for (let piece = before; piece < upTo && !closed; piece++) {
      const source = await store.recheck?.(piece).catch(() => undefined);
      if (source !== undefined) settle(piece, source, undefined);
    }
    if (closed || done) return;
    known = upTo;
    for (const peer of sources.keys()) {
      for (let piece = before; piece < known; piece++) if (options.told(peer, piece)) gains(peer, piece);
    }
    filling.ask();
  }

  /** The peer has a piece whose hash is known. */
  function gains(peer: Peer, piece: number): void {
    picker.have(peer, piece);
    if (!done && !peer.amInterested && !store.has(piece)) peer.setInterested(true);
  }

  function settle(piece: number, source: PieceSource, stored: Uint8Array | undefined): void {
    if (closed) return;
    picker.verified(piece);
    pieces.close(piece, pieces.get(piece)?.bytes === stored ? 'stored' : 'in use');
    if (stored !== undefined) pieces.keepRecent(piece, stored);
    options.settled(piece, source);
    if (picker.missing === 0 && !done) {
      done = true;
      options.completed();
      return;
    }
    filling.ask();
  }

  const keeping = createKeeping({
    ...options,
    pieces,
    picker,
    isOrigin: (peerId) => origins.has(peerId),
    isClosed: () => closed,
    settled: settle,
    again: filling.ask,
  });

  /** The piece came from elsewhere: what was asked of peers is not needed. */
  function cancelAll(piece: number): void {
    for (const peer of sources.keys()) {
      for (const request of peer.requests()) {
        if (request.piece === piece) peer.cancel(piece, request.offset, blockLength(piece, request.offset));
      }
    }
  }

  const blockLength = (piece: number, offset: number): number =>
    Math.min(BLOCK_BYTES, sizeOf(piece) - offset);

  function stall(peer: Peer, source: Source, at: number): void {
    // Who chokes us owes nothing, but what it does not send is asked of others.
    if (!peer.choking) source.stalledAt ??= at;
    for (const { piece, offset } of peer.requests()) {
      if (picker.availability(piece) < 2 && !peer.choking) continue;
      peer.giveUp(piece, offset);
      picker.released(peer, piece, offset);
    }
    filling.ask();
  }

  return {
    get done() {
      return done;
    },
    join(peer) {
      if (peer.role === 'origin') origins.add(peer.peerId);
      picker.join(peer, about(peer));
      sources.set(peer, {
        waiting: false,
        stalledAt: undefined,
        refusals: 0,
        refusedUntil: 0,
        far: options.far(peer),
        seed: false,
      });
    },
    introduced(peer, bits, seed) {
      const source = sources.get(peer);
      if (source !== undefined) source.seed = seed;
      if (source === undefined || source.far === options.far(peer)) return;
      // The picker learns of distance when a peer joins.
      source.far = options.far(peer);
      for (const { piece, offset } of peer.requests()) peer.giveUp(piece, offset);
      picker.leave(peer);
      picker.join(peer, about(peer));
      picker.bitfield(peer, knownOf(bits));
      fill(peer);
    },
    leave(peer) {
      limiter.refund(peer.outstanding * BLOCK_BYTES);
      picker.leave(peer);
      sources.delete(peer);
      pieces.abandon(peer);
      filling.ask();
    },
    have(peer, piece) {
      if (piece < known) gains(peer, piece);
    },
    learn() {
      learning = learning.then(learn);
    },
    pieces(peer, bits) {
      if (bits !== 'all') picker.bitfield(peer, knownOf(bits));
      else if (known === count) picker.haveAll(peer);
      else for (let piece = 0; piece < known; piece++) picker.have(peer, piece);
      if (!done && picker.wants(peer)) peer.setInterested(true);
    },
    choked(peer, dropped) {
      for (const { piece, offset } of dropped) {
        picker.released(peer, piece, offset);
        limiter.refund(BLOCK_BYTES);
      }
      if (dropped.length > 0) filling.ask();
    },
    refused(peer, piece, offset) {
      picker.released(peer, piece, offset);
      limiter.refund(BLOCK_BYTES);
      const source = sources.get(peer);
      if (source === undefined) return;
      // Refusals in one batch count once: a choke crosses many requests on the wire.
      if (!peer.choking && source.refusedUntil <= now()) {
        source.refusals++;
        source.refusedUntil = now() + FIRST_REFUSAL_PAUSE_MS * 2 ** Math.min(source.refusals - 1, 7);
        if (source.refusals > MAX_REFUSALS) {
          options.ban(senderOf(peer), 'claims pieces and refuses to send them');
          return;
        }
      }
      filling.ask();
    },
    blockStart(peer, piece, offset) {
      const open = pieces.get(piece);
      return open?.begin(offset, peer) === true ? open.bytes : undefined;
    },
    blockEnd(peer, piece, offset, length, stored) {
      meter.add(length);
      if (peer.role === 'origin') bytesFromOrigin += length;
      else bytesFromPeers += length;
      const source = sources.get(peer);
      if (source !== undefined) {
        source.stalledAt = undefined;
        source.refusals = 0;
        source.refusedUntil = 0;
      }
      const open = pieces.get(piece);
      if (!stored || open === undefined || !open.finish(offset, senderOf(peer))) {
        picker.released(peer, piece, offset);
        return;
      }
      for (const other of picker.received(peer, piece, offset)) other.cancel(piece, offset, length);
      if (open.missing === 0) void keeping.verify(open);
    },
    unchoked(peer) {
      // Silence before a choke is no fault: what counts is what it does with its turn.
      const source = sources.get(peer);
      if (source?.stalledAt !== undefined) source.stalledAt = now();
      fill(peer);
    },
    fill,
    recall: pieces.recall,
    prioritise(from, to) {
      urgent = { from, to: Math.min(to, count - 1) };
      picker.window(from, to);
    },
    lend: (piece) => (closed || piece < 0 || piece >= count ? undefined : pieces.lend(piece)),
    giveBack: pieces.giveBack,
    spareOrigin(spared) {
      originSpared = spared;
      if (!spared) filling.ask();
    },
    pace: (bytes) =>
      new Promise((resolve) => {
        limiter.ask(() => {
          resolve();
          return bytes;
        });
      }),
    async offer(piece, bytes, source) {
      try {
        if (piece >= known) await learning;
        if (closed || piece < 0 || piece >= known || bytes.length !== sizeOf(piece)) return false;
        if (store.has(piece)) return true;
        if (!(await keeping.isPiece(piece, bytes))) return false;
        if (closed) return false;
        // Another may have brought it while this was hashed.
        if (!store.has(piece)) await keeping.keep(piece, bytes, source);
      } finally {
        // Unless it was kept to be sent on.
        pieces.giveBack(bytes);
      }
      cancelAll(piece);
      return store.has(piece);
    },
    tick(at) {
      if (done) return;
      askSeedsForWindow(at);
      for (const [peer, source] of sources) {
        if (peer.outstanding > 0 && at - peer.progressAt > STALL_MS) stall(peer, source, at);
        if (source.stalledAt !== undefined && !peer.choking && at - source.stalledAt > GIVE_UP_MS) {
          peer.close('asked for blocks and sent none');
          continue;
        }
        picker.pace(peer, peer.downRate(at));
        fill(peer);
      }
    },
    stats: () => ({
      downloadRate: meter.rate(now()),
      bytesFromPeers,
      bytesFromOrigin,
      unavailablePieces: unavailable(),
    }),
    close() {
      closed = true;
      filling.close();
      pieces.clear();
      sources.clear();
    },
  };
}
