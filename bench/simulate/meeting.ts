/** How members come, meet and leave. */
import { createChoker } from '../../src/swarm/choker/index.ts';
import { createPicker } from '../../src/swarm/picker/index.ts';
import { zoneDistance } from '../../src/swarm/ranking/index.ts';
import { createMeter } from '../../src/swarm/rate/index.ts';
import { createSeeding } from '../../src/swarm/seeding/index.ts';
import { fillAll } from './downloading.ts';
import { read } from './inbox.ts';
import { BITFIELD, GONE, TICK } from './messages.ts';
import type { Link } from './network.ts';
import { decide, reveal } from './uploading.ts';
import { holds, type Member, type Side, type World } from './world.ts';

export const TICK_MS = 200;

/** The first member of a world is its origin, with all pieces. */
export function createMember(
  world: World,
  options: { readonly zone: string | undefined; readonly up: Link; readonly down: Link },
): Member {
  const { clock, random, pieceCount, pieceBytes, blockBytes } = world;
  const id = world.members.length;
  const origin = id === 0;
  const name = `member ${id}`;
  const member: Member = {
    ...options,
    id,
    name,
    origin,
    startedAt: clock.now,
    sides: [],
    numbers: [],
    others: [],
    picker: origin
      ? undefined
      : createPicker<number>({
          pieceCount,
          pieceSize: () => pieceBytes,
          held: () => false,
          blockBytes,
          random,
          ...(options.zone === undefined ? {} : { name }),
        }),
    seeding: origin ? createSeeding<number>({ pieceCount, random }) : undefined,
    choker: createChoker<number>({
      slots: origin ? Number.POSITIVE_INFINITY : world.slots,
      turnBytes: world.turnBytes,
      random,
    }),
    pace: createMeter(clock.now),
    ready: [],
    current: undefined,
    runLeft: 0,
    sending: false,
    outstanding: 0,
    unchoked: [],
    alive: true,
    doneAt: origin ? clock.now : undefined,
    sentBytes: 0,
    wastedBytes: 0,
  };
  world.members.push(member);
  if (origin) {
    for (let piece = 0; piece < pieceCount; piece++) world.holdings[piece * world.memberCount] = 1;
    world.pieces[0] = pieceCount;
  }
  clock.at(clock.now + random() * TICK_MS, TICK, id, 0);
  return member;
}

export function connect(world: World, member: Member, other: Member): void {
  if (other === member || !other.alive || member.others.includes(other.id)) return;
  const ours = createSide(world, member, other);
  const theirs = createSide(world, other, member);
  joined(world, theirs);
  joined(world, ours);
}

function createSide(world: World, owner: Member, other: Member): Side {
  const { clock } = world;
  const side: Side = {
    number: world.sides.length,
    owner,
    other,
    queue: [],
    head: 0,
    queued: false,
    closed: false,
    flying: 0,
    asked: undefined,
    meter: undefined,
    path: undefined,
    joinedAt: clock.now,
    progressAt: clock.now,
    stalled: false,
    served: undefined,
  };
  world.sides.push(side);
  let lack = 0;
  if ((world.pieces[owner.id] ?? 0) > 0) {
    for (let piece = 0; piece < world.pieceCount; piece++) {
      if (holds(world, owner.id, piece) && !holds(world, other.id, piece)) lack++;
    }
  }
  world.theyLack[side.number] = lack;
  world.distance[side.number] = zoneDistance(owner.zone, other.zone);
  owner.sides.push(side);
  owner.numbers.push(side.number);
  owner.others.push(other.id);
  return side;
}

function joined(world: World, side: Side): void {
  const { owner, other, number } = side;
  owner.picker?.join(number, {
    far: (world.distance[number] ?? 0) > 0,
    name: other.name,
    superSeed: other.origin,
  });
  owner.seeding?.join(number, world.clock.now);
  decide(world, owner);
  if (owner.seeding === undefined) world.clock.soon(BITFIELD, number ^ 1, 0);
  reveal(world, owner);
}

/** The other has left. */
export function gone(world: World, side: Side): void {
  if (side.closed) return;
  const { owner, number } = side;
  read(world, owner);
  forget(side);
  owner.outstanding -= world.asking[number] ?? 0;
  side.asked?.clear();
  world.asking[number] = 0;
  owner.picker?.leave(number);
  owner.seeding?.leave(number);
  if (owner.alive) fillAll(world, owner);
}

function forget(side: Side): void {
  const { owner } = side;
  side.closed = true;
  const at = owner.sides.indexOf(side);
  owner.sides.splice(at, 1);
  owner.numbers.splice(at, 1);
  owner.others.splice(at, 1);
}

/** Dies; the others see it after a moment. */
export function leave(world: World, member: Member): void {
  member.alive = false;
  for (const side of [...member.sides]) {
    forget(side);
    world.clock.soon(GONE, side.number ^ 1, 0);
  }
}
