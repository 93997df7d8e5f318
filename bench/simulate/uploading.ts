/** What a member does for others: requests, whom to serve, what a seed shows. */
import type { ChokeCandidate } from '../../src/swarm/choker/index.ts';
import { HAVE, PIECE, REJECT, SENT, UNCHOKE } from './messages.ts';
import { pass } from './network.ts';
import { keyOf, type Member, type Side, unpack, type World } from './world.ts';

/** Sends the next block, unless one is being sent: the uplink takes one at a time. */
export function serve(world: World, member: Member): void {
  if (member.sending || !member.alive) return;
  const side = next(world, member);
  if (side === undefined) return;
  const block = side.queue[side.head];
  if (block === undefined) return;
  const { clock } = world;
  const { number } = side;
  side.head++;
  world.waiting[number] = (world.waiting[number] ?? 1) - 1;
  if (side.head > 64 && side.head * 2 > side.queue.length) {
    side.queue = side.queue.slice(side.head);
    side.head = 0;
  }
  const sent = (world.bytesSent[number] ?? 0) + block.length;
  world.bytesSent[number] = sent;
  member.runLeft -= block.length;
  side.flying += block.length;
  member.sentBytes += block.length;
  countServed(world, member, side, block.piece);
  if (side.head >= side.queue.length || sent % world.turnBytes === 0) decide(world, member);
  side.path ??= world.path(member, side.other);
  const arrival = pass(side.path, clock.now, block.length) + world.latencyMs;
  clock.at(arrival, PIECE, number ^ 1, keyOf(world, block));
  member.sending = true;
  clock.at(member.up.freeAt, SENT, member.id, 0);
}

const sendable = (world: World, side: Side): boolean =>
  side.head < side.queue.length && side.flying < world.windowBytes && !side.closed;

/** Whom to send the next block: the same as before until its run is over, then the next in turn. */
function next(world: World, member: Member): Side | undefined {
  const { current, ready } = member;
  if (current !== undefined && member.runLeft > 0 && sendable(world, current)) return current;
  for (let tries = ready.length; tries > 0; tries--) {
    const side = ready.shift();
    if (side === undefined) return undefined;
    if (side.head >= side.queue.length) {
      side.queued = false;
      continue;
    }
    ready.push(side);
    if (!sendable(world, side)) continue;
    member.current = side;
    member.runLeft = world.runBytes;
    return side;
  }
  return undefined;
}

function countServed(world: World, member: Member, side: Side, piece: number): void {
  if (member.seeding === undefined) return;
  side.served ??= new Map();
  const blocks = (side.served.get(piece) ?? 0) + 1;
  side.served.set(piece, blocks);
  if (blocks < world.blocksOfPiece) return;
  member.seeding.taken(side.number, piece, world.clock.now);
  reveal(world, member);
}

/** A seed shows what is to be shown now. */
export function reveal(world: World, member: Member): void {
  if (member.seeding === undefined) return;
  for (const { peer, piece } of member.seeding.revealAll(world.clock.now)) {
    world.clock.soon(HAVE, peer ^ 1, piece);
  }
}

interface Candidate extends ChokeCandidate<number> {
  peer: number;
  interested: boolean;
  bytesSent: number;
  waiting: boolean;
  distance: number;
  pieces: number;
}

/** Filled anew for each decision: the choker keeps none of them. */
const pool: Candidate[] = [];

function candidate(at: number): Candidate {
  const found = pool[at];
  if (found !== undefined) return found;
  const made = { peer: 0, interested: false, bytesSent: 0, waiting: false, distance: 0, pieces: 0 };
  pool[at] = made;
  return made;
}

/** Who may download now. */
export function decide(world: World, member: Member): void {
  const candidates: Candidate[] = [];
  for (let at = 0; at < member.numbers.length; at++) {
    const number = member.numbers[at] ?? 0;
    const interested = world.theyLack[number] !== 0;
    if (!interested && world.choking[number] === 1) continue;
    const one = candidate(candidates.length);
    one.peer = number;
    one.interested = interested;
    one.bytesSent = world.bytesSent[number] ?? 0;
    one.waiting = world.waiting[number] !== 0;
    one.distance = world.distance[number] ?? 0;
    one.pieces = world.pieces[member.others[at] ?? 0] ?? 0;
    candidates.push(one);
  }
  if (candidates.length === 0) return;
  const allowed = member.choker.decide(candidates, world.clock.now);
  for (const number of member.unchoked) if (!allowed.has(number)) world.choking[number] = 1;
  const lucky: number[] = [];
  for (const number of allowed) if (world.choking[number] === 1) lucky.push(number);
  // By number, which is the order of joining: the order in which they hear of it must not depend on the choker.
  for (const number of lucky.toSorted((a, b) => a - b)) {
    world.choking[number] = 0;
    world.clock.soon(UNCHOKE, number ^ 1, 0);
  }
  member.unchoked = [...allowed];
}

/** Blocks are asked of this side. */
export function requested(world: World, side: Side, parcel: number): void {
  const { owner, number } = side;
  if (side.closed || !owner.alive) {
    unpack(world, parcel);
    return;
  }
  if (world.choking[number] === 1) {
    world.clock.soon(REJECT, number ^ 1, parcel);
    return;
  }
  const blocks = unpack(world, parcel);
  for (const block of blocks) side.queue.push(block);
  world.waiting[number] = (world.waiting[number] ?? 0) + blocks.length;
  if (!side.queued) {
    side.queued = true;
    owner.ready.push(side);
  }
  serve(world, owner);
}

/** The other wants a block no more. */
export function cancelled(world: World, side: Side, key: number): void {
  if (side.closed) return;
  const piece = Math.floor(key / world.blocksOfPiece);
  const offset = (key % world.blocksOfPiece) * world.blockBytes;
  for (let at = side.head; at < side.queue.length; at++) {
    const block = side.queue[at];
    if (block?.piece !== piece || block.offset !== offset) continue;
    side.queue.splice(at, 1);
    world.waiting[side.number] = (world.waiting[side.number] ?? 1) - 1;
    return;
  }
}

/** A block has reached the other: there is room for the next. */
export function landed(world: World, side: Side): void {
  side.flying -= world.blockBytes;
  serve(world, side.owner);
}
