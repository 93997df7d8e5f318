/**
 * What a simulated swarm is made of: members, and connections of two sides. What is looked at most
 * lies in typed arrays by the number of a side or of a member, so that ten thousand members with
 * forty connections each stay near the processor.
 */
import type { Choker } from '../../src/swarm/choker/index.ts';
import type { Block, Picker } from '../../src/swarm/picker/index.ts';
import type { Meter } from '../../src/swarm/rate/index.ts';
import type { Seeding } from '../../src/swarm/seeding/index.ts';
import type { Clock } from './clock.ts';
import type { Link } from './network.ts';

/** A member's inbox has room for half as many announcements. */
export const INBOX = 128;

/** What is the same for all members of one simulation. */
export interface Settings {
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
}

export interface World extends Settings {
  readonly clock: Clock;
  readonly random: () => number;
  readonly blocksOfPiece: number;
  /** Members at most, the origin included. */
  readonly memberCount: number;
  readonly members: Member[];
  /** By number. The other side of side `n` is `n ^ 1`. */
  readonly sides: Side[];
  /** Blocks on their way in one message, and the places that are free. */
  readonly parcels: (readonly Block[])[];
  readonly freeParcels: number[];
  readonly path: (from: Member, to: Member) => Link[];

  // By member.
  /** Which member has which piece: `piece × memberCount + id`, so that asking the peers for one piece stays in one row. */
  readonly holdings: Uint8Array;
  /** How many pieces a member has. */
  readonly pieces: Uint32Array;
  /** Blocks of a piece that are here and not whole, a bit each: `id × pieceCount + piece`. */
  readonly here: Uint32Array;
  /** Pieces that a member heard of and has not looked at, `INBOX` numbers a member (see inbox.ts), and how many. */
  readonly inbox: Uint32Array;
  readonly unread: Uint32Array;

  // By side.
  /** Pieces that we have and the other has not. */
  readonly theyLack: Uint32Array;
  /** 1: we choke the other. */
  readonly choking: Uint8Array;
  /** Blocks that the other asked us for and that are not sent. */
  readonly waiting: Uint32Array;
  /** Blocks that we asked the other for. */
  readonly asking: Uint32Array;
  readonly bytesSent: Float64Array;
  /** Zone distance. */
  readonly distance: Uint8Array;
}

/** One side of a connection. */
export interface Side {
  readonly number: number;
  readonly owner: Member;
  readonly other: Member;
  /** Blocks the other asked us for, in order; those before `head` are gone. */
  queue: Block[];
  head: number;
  queued: boolean;
  closed: boolean;
  /** On its way to the other. */
  flying: number;
  /** What we asked the other for: `piece × blocksOfPiece + block`. */
  asked: Set<number> | undefined;
  /** Made when it is first needed: most sides never move a byte. */
  meter: Meter | undefined;
  path: Link[] | undefined;
  readonly joinedAt: number;
  progressAt: number;
  stalled: boolean;
  /** Blocks of a piece that we sent to the other, for super-seeding. */
  served: Map<number, number> | undefined;
}

export interface Member {
  readonly id: number;
  readonly name: string;
  readonly zone: string | undefined;
  readonly up: Link;
  readonly down: Link;
  readonly origin: boolean;
  readonly startedAt: number;
  /** Its connections in the order of joining; their numbers, and the ids of the peers. */
  readonly sides: Side[];
  readonly numbers: number[];
  readonly others: number[];
  /** Peers are named by the number of our side; the origin has no picker, all others no seeding. */
  readonly picker: Picker<number> | undefined;
  readonly seeding: Seeding<number> | undefined;
  readonly choker: Choker<number>;
  readonly pace: Meter;
  /** Sides with a queue, served in turn. */
  readonly ready: Side[];
  current: Side | undefined;
  runLeft: number;
  sending: boolean;
  /** Blocks asked of all. */
  outstanding: number;
  unchoked: number[];
  alive: boolean;
  doneAt: number | undefined;
  sentBytes: number;
  wastedBytes: number;
}

export function createWorld(
  settings: Settings & {
    readonly clock: Clock;
    readonly random: () => number;
    readonly path: (from: Member, to: Member) => Link[];
    readonly memberCount: number;
    /** At most. */
    readonly connectionCount: number;
  },
): World {
  const { memberCount, pieceCount } = settings;
  const sideCount = settings.connectionCount * 2;
  return {
    ...settings,
    blocksOfPiece: Math.ceil(settings.pieceBytes / settings.blockBytes),
    members: [],
    sides: [],
    parcels: [],
    freeParcels: [],
    holdings: new Uint8Array(memberCount * pieceCount),
    pieces: new Uint32Array(memberCount),
    here: new Uint32Array(memberCount * pieceCount),
    inbox: new Uint32Array(memberCount * INBOX),
    unread: new Uint32Array(memberCount),
    theyLack: new Uint32Array(sideCount),
    choking: new Uint8Array(sideCount).fill(1),
    waiting: new Uint32Array(sideCount),
    asking: new Uint32Array(sideCount),
    bytesSent: new Float64Array(sideCount),
    distance: new Uint8Array(sideCount),
  };
}

export const holds = (world: World, id: number, piece: number): boolean =>
  world.holdings[piece * world.memberCount + id] === 1;

/** The number of a block: events carry numbers. */
export const keyOf = (world: World, block: Pick<Block, 'piece' | 'offset'>): number =>
  block.piece * world.blocksOfPiece + block.offset / world.blockBytes;

/** The side at the other end. */
export function twin(world: World, side: Side): Side {
  const found = world.sides[side.number ^ 1];
  if (found === undefined) throw new Error('a side has no other end');
  return found;
}

/** Puts blocks on their way: the number goes into an event, and `unpack` takes them out. */
export function pack(world: World, blocks: readonly Block[]): number {
  const place = world.freeParcels.pop() ?? world.parcels.length;
  world.parcels[place] = blocks;
  return place;
}

export function unpack(world: World, place: number): readonly Block[] {
  const blocks = world.parcels[place] ?? [];
  world.freeParcels.push(place);
  return blocks;
}
