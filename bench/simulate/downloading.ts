/** What a member does for itself: what to ask of whom, and what it does with what comes. */
import { pipelineBlocks } from '../../src/swarm/picker/index.ts';
import { createMeter, type Meter } from '../../src/swarm/rate/index.ts';
import { put, read } from './inbox.ts';
import { CANCEL, HAVE_TO_ALL, REQUEST } from './messages.ts';
import { decide, reveal } from './uploading.ts';
import { holds, keyOf, type Member, pack, type Side, unpack, type World } from './world.ts';

const STALL_MS = 1_000;

function meterOf(side: Side): Meter {
  side.meter ??= createMeter(side.joinedAt);
  return side.meter;
}

/** Asks the other for as much as it should be asked for. */
export function fill(world: World, member: Member, side: Side): void {
  const { picker } = member;
  const { number } = side;
  if (picker === undefined || !member.alive || world.choking[number ^ 1] === 1) return;
  read(world, member);
  if (!picker.wants(number)) return;
  const { clock } = world;
  const asking = world.asking[number] ?? 0;
  const depth = pipelineBlocks({
    bytesPerSecond: meterOf(side).rate(clock.now),
    blockBytes: world.blockBytes,
    pieceBytes: world.pieceBytes,
    requestQueue: 1_000_000,
    stalled: side.stalled,
    outstanding: asking,
    totalOutstanding: member.outstanding,
    totalBytesPerSecond: member.pace.rate(clock.now),
  });
  const room = depth - asking;
  if (room <= 0) return;
  const blocks = picker.pick(number, room, { now: clock.now });
  if (blocks.length === 0) return;
  if (asking === 0) side.progressAt = clock.now;
  side.asked ??= new Set();
  for (const block of blocks) side.asked.add(keyOf(world, block));
  world.asking[number] = side.asked.size;
  member.outstanding += blocks.length;
  clock.soon(REQUEST, number ^ 1, pack(world, blocks));
}

export function fillAll(world: World, member: Member): void {
  const { numbers, sides } = member;
  const start = Math.floor(world.random() * numbers.length);
  for (let step = 0; step < numbers.length; step++) {
    const at = start + step < numbers.length ? start + step : start + step - numbers.length;
    if (world.choking[(numbers[at] ?? 0) ^ 1] === 1) continue;
    const side = sides[at];
    if (side !== undefined) fill(world, member, side);
  }
}

/** A block is expected of this side no more. True when it was. */
function unask(world: World, side: Side, key: number): boolean {
  if (side.asked?.delete(key) !== true) return false;
  world.asking[side.number] = side.asked.size;
  side.owner.outstanding--;
  return true;
}

function complete(world: World, member: Member, piece: number): void {
  const { picker } = member;
  if (picker === undefined || holds(world, member.id, piece)) return;
  const row = piece * world.memberCount;
  world.holdings[row + member.id] = 1;
  world.pieces[member.id] = (world.pieces[member.id] ?? 0) + 1;
  world.here[member.id * world.pieceCount + piece] = 0;
  picker.verifying(piece);
  for (const number of picker.verified(piece)) cancelPiece(world, number, piece);
  if (picker.missing === 0) member.doneAt = world.clock.now;
  const { numbers, others } = member;
  for (let at = 0; at < numbers.length; at++) {
    const number = numbers[at] ?? 0;
    if (world.holdings[row + (others[at] ?? 0)] === 1) {
      world.theyLack[number ^ 1] = (world.theyLack[number ^ 1] ?? 1) - 1;
    } else {
      world.theyLack[number] = (world.theyLack[number] ?? 0) + 1;
    }
  }
  if (member.unchoked.length < world.slots) decide(world, member);
  world.clock.soon(HAVE_TO_ALL, member.id, piece);
}

/** A new piece is told to all who lack it, and to the origin. */
export function haveToAll(world: World, member: Member, piece: number): void {
  if (!member.alive) return;
  const row = piece * world.memberCount;
  const { numbers, others } = member;
  for (let at = 0; at < numbers.length; at++) {
    // Who has what we have does not change a decision of ours: left out for speed.
    if (world.holdings[row + (others[at] ?? 0)] === 1 && others[at] !== 0) continue;
    const number = (numbers[at] ?? 0) ^ 1;
    const other = others[at] ?? 0;
    if (other !== 0 && world.choking[number ^ 1] === 1 && put(world, other, number, piece)) continue;
    const side = world.sides[number];
    if (side !== undefined) heard(world, side, piece);
  }
}

/** The other side announced a piece. */
export function heard(world: World, side: Side, piece: number): void {
  const { owner } = side;
  if (!owner.alive || side.closed) return;
  if (owner.seeding !== undefined) {
    owner.seeding.have(side.number, piece, world.clock.now);
    reveal(world, owner);
  }
  if (owner.picker === undefined || holds(world, owner.id, piece)) return;
  const choked = world.choking[side.number ^ 1] === 1;
  if (choked && put(world, owner.id, side.number, piece)) return;
  read(world, owner);
  if (owner.picker.have(side.number, piece)) fill(world, owner, side);
}

/** A new peer has told all that it has by now. */
export function bitfield(world: World, side: Side): void {
  if (side.closed || (world.pieces[side.other.id] ?? 0) === 0) return;
  for (let piece = 0; piece < world.pieceCount; piece++) {
    if (holds(world, side.other.id, piece)) heard(world, side, piece);
  }
}

function cancelPiece(world: World, number: number, piece: number): void {
  const side = world.sides[number];
  if (side === undefined || side.closed) return;
  for (let block = 0; block < world.blocksOfPiece; block++) {
    const key = piece * world.blocksOfPiece + block;
    if (unask(world, side, key)) world.clock.soon(CANCEL, number ^ 1, key);
  }
}

/** What a silent peer owes us is asked of others. */
export function stalls(world: World, member: Member): void {
  const { picker, numbers, sides } = member;
  if (picker === undefined) return;
  read(world, member);
  const { clock } = world;
  for (let at = 0; at < numbers.length; at++) {
    const number = numbers[at] ?? 0;
    const side = sides[at];
    if (world.asking[number] === 0 || side === undefined) continue;
    picker.pace(number, meterOf(side).rate(clock.now));
    // A block on its way trickles in, though it counts here only when it is whole.
    if (clock.now - side.progressAt < STALL_MS || (world.sides[number ^ 1]?.flying ?? 0) > 0) continue;
    side.stalled = true;
    for (const key of [...(side.asked ?? [])]) {
      const piece = Math.floor(key / world.blocksOfPiece);
      if (picker.availability(piece) < 2) continue;
      unask(world, side, key);
      picker.released(number, piece, (key % world.blocksOfPiece) * world.blockBytes);
      clock.soon(CANCEL, number ^ 1, key);
    }
  }
}

/** The other will not send these. */
export function rejected(world: World, side: Side, parcel: number): void {
  const blocks = unpack(world, parcel);
  if (side.closed) return;
  read(world, side.owner);
  for (const block of blocks) {
    if (unask(world, side, keyOf(world, block))) {
      side.owner.picker?.released(side.number, block.piece, block.offset);
    }
  }
  fillAll(world, side.owner);
}

/** A block is here. */
export function arrived(world: World, side: Side, key: number): void {
  const { owner } = side;
  const { picker } = owner;
  if (picker === undefined || side.closed || !owner.alive) return;
  read(world, owner);
  const piece = Math.floor(key / world.blocksOfPiece);
  const block = key % world.blocksOfPiece;
  const length = Math.min(world.blockBytes, world.pieceBytes - block * world.blockBytes);
  unask(world, side, key);
  meterOf(side).add(length);
  side.progressAt = world.clock.now;
  side.stalled = false;
  owner.pace.add(length);
  if (holds(world, owner.id, piece) || (picker.openPieces === 0 && picker.missing === 0)) {
    owner.wastedBytes += length;
    return;
  }
  for (const number of picker.received(side.number, piece, block * world.blockBytes)) {
    const loser = world.sides[number];
    if (loser !== undefined && unask(world, loser, key)) world.clock.soon(CANCEL, number ^ 1, key);
  }
  note(world, owner, piece, block, length);
  if (picker.missing === 0) return;
  fill(world, owner, side);
  if (owner.outstanding === 0) fillAll(world, owner);
}

/** Notes a block that is here. At most 30 blocks a piece. */
function note(world: World, member: Member, piece: number, block: number, length: number): void {
  const place = member.id * world.pieceCount + piece;
  const blocks = world.here[place] ?? 0;
  const all = (blocks | (1 << block)) >>> 0;
  if (all === blocks) {
    member.wastedBytes += length;
    return;
  }
  world.here[place] = all;
  if (all === 2 ** world.blocksOfPiece - 1) complete(world, member, piece);
}
