/**
 * One simulated member of a swarm: it does with the picker, the choker, the seeding policy and
 * the pipeline rule what the engine does with them, over simulated links.
 */
import { type ChokeCandidate, createChoker } from '../../src/swarm/choker/index.ts';
import { type Block, createPicker, type Picker, pipelineBlocks } from '../../src/swarm/picker/index.ts';
import { zoneDistance } from '../../src/swarm/ranking/index.ts';
import { createMeter, type Meter } from '../../src/swarm/rate/index.ts';
import { createSeeding, type Seeding } from '../../src/swarm/seeding/index.ts';
import type { Events } from './events.ts';
import { type Link, pass } from './network.ts';

/** What all members of one simulation share. */
export interface World {
  readonly events: Events;
  readonly random: () => number;
  readonly pieceCount: number;
  readonly pieceBytes: number;
  readonly blockBytes: number;
  /** Milliseconds one way. */
  readonly latencyMs: number;
  /** A connection has at most so much on its way. */
  readonly windowBytes: number;
  /** Bytes that an uploader sends to one peer before it turns to the next. */
  readonly runBytes: number;
  /** Peers that may download from one member at once, and how much each before the others. */
  readonly slots: number;
  readonly turnBytes: number;
  /** Which member has which piece: `id × pieceCount + piece`. */
  readonly holdings: Uint8Array;
  readonly path: (from: Member, to: Member) => Link[];
  readonly sent: (from: Member, to: Member, bytes: number) => void;
}

/** One side of a connection. `twin` is the other. */
export interface Side {
  readonly owner: Member;
  readonly other: Member;
  twin: Side;
  /** Blocks the other asked us for, in order; those before `head` are gone. */
  queue: Block[];
  head: number;
  /** Where the other's holdings begin. */
  readonly otherAt: number;
  /** Pieces that we have and the other has not. */
  theyLack: number;
  queued: boolean;
  closed: boolean;
  /** On its way to the other. */
  flying: number;
  /** We choke the other. */
  choking: boolean;
  /** What we asked the other for. */
  readonly asked: Set<number>;
  readonly meter: Meter;
  progressAt: number;
  stalled: boolean;
  bytesSent: number;
  /** Zone distance. */
  readonly distance: number;
  /** Blocks of a piece that we sent to the other, for super-seeding. */
  readonly served: Map<number, number>;
}

export interface Member {
  readonly id: number;
  readonly name: string;
  readonly zone: string | undefined;
  readonly up: Link;
  readonly down: Link;
  readonly origin: boolean;
  readonly startedAt: number;
  readonly sides: Map<Member, Side>;
  readonly picker: Picker<Member> | undefined;
  alive: boolean;
  doneAt: number | undefined;
  readonly sentBytes: number;
  readonly wastedBytes: number;
  connect(other: Member): void;
  leave(): void;
}

/** What members do with one another; not for the scenarios. */
interface Inner extends Member {
  sentBytes: number;
  wastedBytes: number;
  /** Pieces that it has. */
  pieces: number;
  side(to: Member): Side;
  joined(side: Side): void;
  left(side: Side): void;
  announced(from: Member, piece: number): void;
  heard(side: Side, piece: number): void;
  unchoked(from: Member): void;
  refused(from: Member, blocks: readonly Block[]): void;
  ask(from: Member, blocks: readonly Block[]): void;
  cancel(from: Member, piece: number, offset: number): void;
  arrive(from: Member, block: Block): void;
  landed(side: Side): void;
}

const STALL_MS = 1_000;
const TICK_MS = 200;

export function createMember(
  world: World,
  options: {
    readonly id: number;
    readonly zone: string | undefined;
    readonly up: Link;
    readonly down: Link;
    readonly origin: boolean;
  },
): Member {
  const { events, random, blockBytes, pieceBytes, pieceCount } = world;
  const name = `member ${options.id}`;
  const blocksOfPiece = Math.ceil(pieceBytes / blockBytes);
  const sides = new Map<Member, Side>();
  const first = options.id * pieceCount;
  const has = world.holdings.subarray(first, first + pieceCount).fill(options.origin ? 1 : 0);
  const picker = options.origin
    ? undefined
    : createPicker<Member>({
        pieceCount,
        pieceSize: () => pieceBytes,
        held: () => false,
        blockBytes,
        random,
        ...(options.zone === undefined ? {} : { name }),
      });
  const seeding: Seeding<Member> | undefined = options.origin
    ? createSeeding<Member>({ pieceCount, random })
    : undefined;
  const choker = createChoker<Member>({
    slots: options.origin ? Number.POSITIVE_INFINITY : world.slots,
    turnBytes: world.turnBytes,
    random,
  });
  const pace = createMeter(events.now);
  /** Blocks that are here, by piece. */
  const here = new Map<number, number>();
  /** Sides with a queue, served in turn. */
  const ready: Side[] = [];
  let current: Side | undefined;
  let runLeft = 0;
  let sending = false;
  let outstanding = 0;
  let unchoked = 0;

  const at = (): number => events.now;
  const inner = (member: Member): Inner => member as Inner;
  const later = (run: () => void): void => events.at(at() + world.latencyMs, run);
  const key = (piece: number, offset: number): number => piece * blocksOfPiece + offset / blockBytes;

  // --- what we download

  function fill(side: Side): void {
    if (picker === undefined || !member.alive || side.twin.choking) return;
    if (!picker.wants(side.other)) return;
    const depth = pipelineBlocks({
      bytesPerSecond: side.meter.rate(at()),
      blockBytes,
      pieceBytes,
      requestQueue: 1_000_000,
      stalled: side.stalled,
      outstanding: side.asked.size,
      totalOutstanding: outstanding,
      totalBytesPerSecond: pace.rate(at()),
    });
    const room = depth - side.asked.size;
    if (room <= 0) return;
    const blocks = picker.pick(side.other, room, { now: at() });
    if (blocks.length === 0) return;
    if (side.asked.size === 0) side.progressAt = at();
    for (const block of blocks) side.asked.add(key(block.piece, block.offset));
    outstanding += blocks.length;
    later(() => inner(side.other).ask(member, blocks));
  }

  function fillAll(): void {
    const all = [...sides.values()];
    const start = Math.floor(random() * all.length);
    for (let step = 0; step < all.length; step++) {
      const side = all[(start + step) % all.length];
      if (side !== undefined) fill(side);
    }
  }

  function unask(side: Side, piece: number, offset: number): boolean {
    if (!side.asked.delete(key(piece, offset))) return false;
    outstanding--;
    return true;
  }

  function complete(piece: number): void {
    if (picker === undefined || has[piece] === 1) return;
    has[piece] = 1;
    member.pieces++;
    here.delete(piece);
    picker.verifying(piece);
    for (const other of picker.verified(piece)) cancelAt(other, piece);
    if (picker.missing === 0) member.doneAt = at();
    for (const side of sides.values()) {
      if (world.holdings[side.otherAt + piece] === 1) side.twin.theyLack--;
      else side.theyLack++;
    }
    if (unchoked < world.slots) decide();
    later(() => {
      if (!member.alive) return;
      for (const side of sides.values()) {
        // Who has what we have does not change a decision of ours: left out for speed.
        if (world.holdings[side.otherAt + piece] !== 1 || side.other.origin)
          inner(side.other).heard(side.twin, piece);
      }
    });
  }

  function cancelAt(other: Member, piece: number): void {
    const side = sides.get(other);
    if (side === undefined) return;
    for (let block = 0; block < blocksOfPiece; block++) {
      if (unask(side, piece, block * blockBytes)) inner(other).cancel(member, piece, block * blockBytes);
    }
  }

  function stalls(): void {
    if (picker === undefined) return;
    for (const side of sides.values()) {
      if (side.asked.size === 0) continue;
      picker.pace(side.other, side.meter.rate(at()));
      // A block on its way trickles in, though it counts here only when it is whole.
      if (at() - side.progressAt < STALL_MS || side.twin.flying > 0) continue;
      side.stalled = true;
      for (const number of [...side.asked]) {
        const piece = Math.floor(number / blocksOfPiece);
        if (picker.availability(piece) < 2) continue;
        const offset = (number % blocksOfPiece) * blockBytes;
        unask(side, piece, offset);
        picker.released(side.other, piece, offset);
        inner(side.other).cancel(member, piece, offset);
      }
    }
  }

  // --- what we upload

  function serve(): void {
    if (sending || !member.alive) return;
    const side = next();
    if (side === undefined) return;
    const block = side.queue[side.head];
    if (block === undefined) return;
    side.head++;
    if (side.head > 64 && side.head * 2 > side.queue.length) {
      side.queue = side.queue.slice(side.head);
      side.head = 0;
    }
    runLeft -= block.length;
    side.flying += block.length;
    side.bytesSent += block.length;
    member.sentBytes += block.length;
    world.sent(member, side.other, block.length);
    countServed(side, block.piece);
    if (side.head >= side.queue.length || side.bytesSent % world.turnBytes === 0) decide();
    const arrival = pass(world.path(member, side.other), at(), block.length) + world.latencyMs;
    events.at(arrival, () => {
      inner(side.other).arrive(member, block);
      member.landed(side);
    });
    sending = true;
    events.at(member.up.freeAt, () => {
      sending = false;
      serve();
    });
  }

  const sendable = (side: Side): boolean =>
    side.head < side.queue.length && side.flying < world.windowBytes && !side.closed;

  /** Whom to send the next block: the same as before until its run is over, then the next in turn. */
  function next(): Side | undefined {
    if (current !== undefined && runLeft > 0 && sendable(current)) return current;
    for (let tries = ready.length; tries > 0; tries--) {
      const side = ready.shift();
      if (side === undefined) return undefined;
      if (side.head >= side.queue.length) {
        side.queued = false;
        continue;
      }
      ready.push(side);
      if (!sendable(side)) continue;
      current = side;
      runLeft = world.runBytes;
      return side;
    }
    return undefined;
  }

  function countServed(side: Side, piece: number): void {
    if (seeding === undefined) return;
    const blocks = (side.served.get(piece) ?? 0) + 1;
    side.served.set(piece, blocks);
    if (blocks < blocksOfPiece) return;
    seeding.taken(side.other, piece, at());
    reveal();
  }

  function reveal(): void {
    if (seeding === undefined) return;
    for (const { peer, piece } of seeding.revealAll(at())) {
      later(() => inner(peer).announced(member, piece));
    }
  }

  function decide(): void {
    const candidates: ChokeCandidate<Member>[] = [];
    for (const side of sides.values()) {
      const interested = side.theyLack > 0;
      if (!interested && side.choking) continue;
      const waiting = side.head < side.queue.length;
      candidates.push({
        peer: side.other,
        interested,
        bytesSent: side.bytesSent,
        waiting,
        distance: side.distance,
        pieces: (side.other as Inner).pieces,
      });
    }
    if (candidates.length === 0) return;
    const allowed = choker.decide(candidates, at());
    unchoked = allowed.size;
    for (const side of sides.values()) {
      const choking = !allowed.has(side.other);
      if (choking === side.choking) continue;
      side.choking = choking;
      if (!choking) later(() => inner(side.other).unchoked(member));
    }
  }

  function tick(): void {
    if (!member.alive) return;
    decide();
    reveal();
    if (picker !== undefined && picker.missing > 0) {
      stalls();
      fillAll();
    }
    events.at(at() + TICK_MS, tick);
  }

  function createSide(other: Member): Side {
    const side: Side = {
      owner: member,
      other,
      twin: undefined as unknown as Side,
      queue: [],
      head: 0,
      otherAt: other.id * pieceCount,
      theyLack: 0,
      queued: false,
      closed: false,
      flying: 0,
      choking: true,
      asked: new Set(),
      meter: createMeter(at()),
      progressAt: at(),
      stalled: false,
      bytesSent: 0,
      distance: zoneDistance(options.zone, other.zone),
      served: new Map(),
    };
    for (let piece = 0; piece < pieceCount; piece++) {
      if (has[piece] === 1 && world.holdings[side.otherAt + piece] === 0) side.theyLack++;
    }
    sides.set(other, side);
    return side;
  }

  const member: Inner = {
    id: options.id,
    name,
    zone: options.zone,
    up: options.up,
    down: options.down,
    origin: options.origin,
    startedAt: at(),
    sides,
    picker,
    alive: true,
    doneAt: options.origin ? at() : undefined,
    pieces: options.origin ? pieceCount : 0,
    sentBytes: 0,
    wastedBytes: 0,
    connect(other) {
      if (other === member || sides.has(other) || !other.alive) return;
      const ours = createSide(other);
      const theirs = inner(other).side(member);
      ours.twin = theirs;
      theirs.twin = ours;
      inner(other).joined(theirs);
      member.joined(ours);
    },
    side: createSide,
    joined(side) {
      const { other } = side;
      picker?.join(other, {
        far: zoneDistance(options.zone, other.zone) > 0,
        name: other.name,
        superSeed: other.origin,
      });
      seeding?.join(other, at());
      decide();
      later(() => {
        if (sides.get(other) !== side || seeding !== undefined) return;
        for (let piece = 0; piece < pieceCount; piece++) {
          if (has[piece] === 1) inner(other).announced(member, piece);
        }
      });
      reveal();
    },
    left(side) {
      if (sides.get(side.other) !== side) return;
      sides.delete(side.other);
      side.closed = true;
      outstanding -= side.asked.size;
      side.asked.clear();
      picker?.leave(side.other);
      seeding?.leave(side.other);
      if (member.alive) fillAll();
    },
    leave() {
      member.alive = false;
      for (const side of [...sides.values()]) {
        sides.delete(side.other);
        side.closed = true;
        later(() => inner(side.other).left(side.twin));
      }
    },
    announced(from, piece) {
      const side = sides.get(from);
      if (side !== undefined) member.heard(side, piece);
    },
    heard(side, piece) {
      if (!member.alive || side.closed) return;
      if (seeding !== undefined) {
        seeding.have(side.other, piece, at());
        reveal();
      }
      if (picker === undefined || has[piece] === 1 || !picker.have(side.other, piece)) return;
      fill(side);
    },
    unchoked(from) {
      const side = sides.get(from);
      if (side !== undefined) fill(side);
    },
    refused(from, blocks) {
      const side = sides.get(from);
      if (side === undefined) return;
      for (const { piece, offset } of blocks) {
        if (unask(side, piece, offset)) picker?.released(from, piece, offset);
      }
      fillAll();
    },
    ask(from, blocks) {
      const side = sides.get(from);
      if (side === undefined || !member.alive) return;
      if (side.choking) {
        later(() => inner(from).refused(member, blocks));
        return;
      }
      side.queue.push(...blocks);
      if (!side.queued) {
        side.queued = true;
        ready.push(side);
      }
      serve();
    },
    cancel(from, piece, offset) {
      later(() => {
        const side = sides.get(from);
        if (side === undefined) return;
        const found = side.queue.findIndex(
          (block, index) => index >= side.head && block.piece === piece && block.offset === offset,
        );
        if (found >= 0) side.queue.splice(found, 1);
      });
    },
    arrive(from, block) {
      const side = sides.get(from);
      if (picker === undefined || side === undefined || !member.alive) return;
      const { piece, offset, length } = block;
      unask(side, piece, offset);
      side.meter.add(length);
      side.progressAt = at();
      side.stalled = false;
      pace.add(length);
      if (has[piece] === 1 || (picker.openPieces === 0 && picker.missing === 0)) {
        member.wastedBytes += length;
        return;
      }
      receive(side, block);
      if (picker.missing === 0) return;
      fill(side);
      if (outstanding === 0) fillAll();
    },
    landed(side) {
      side.flying -= blockBytes;
      serve();
    },
  };

  function receive(side: Side, { piece, offset, length }: Block): void {
    if (picker === undefined) return;
    const seen = blockSeen(piece, offset);
    for (const other of picker.received(side.other, piece, offset)) {
      const loser = sides.get(other);
      if (loser !== undefined && unask(loser, piece, offset)) inner(other).cancel(member, piece, offset);
    }
    if (seen) member.wastedBytes += length;
    else if (here.get(piece) === 2 ** blocksOfPiece - 1) complete(piece);
  }

  /** Notes a block that is here; whether it was already. At most 30 blocks a piece. */
  function blockSeen(piece: number, offset: number): boolean {
    const bit = 1 << (offset / blockBytes);
    const blocks = here.get(piece) ?? 0;
    here.set(piece, blocks | bit);
    return (blocks & bit) !== 0;
  }

  events.at(at() + random() * TICK_MS, tick);
  return member;
}
