/** What a member does when something happens: each message and each timer, one line. */
import * as downloading from './downloading.ts';
import * as meeting from './meeting.ts';
import * as messages from './messages.ts';
import * as uploading from './uploading.ts';
import { type Member, type Side, twin, type World } from './world.ts';

/** Does what an event of the clock says. */
export function deliver(world: World, kind: number, a: number, b: number): void {
  if (kind < messages.HAVE_TO_ALL) {
    const side = world.sides[a];
    if (side !== undefined) toSide(world, side, kind, b);
  } else {
    const member = world.members[a];
    if (member !== undefined) toMember(world, member, kind, b);
  }
}

function toSide(world: World, side: Side, kind: number, b: number): void {
  switch (kind) {
    case messages.REQUEST:
      uploading.requested(world, side, b);
      break;
    case messages.REJECT:
      downloading.rejected(world, side, b);
      break;
    case messages.CANCEL:
      uploading.cancelled(world, side, b);
      break;
    case messages.HAVE:
      downloading.heard(world, side, b);
      break;
    case messages.BITFIELD:
      downloading.bitfield(world, side);
      break;
    case messages.UNCHOKE:
      downloading.fill(world, side.owner, side);
      break;
    case messages.GONE:
      meeting.gone(world, side);
      break;
    case messages.PIECE:
      downloading.arrived(world, side, b);
      uploading.landed(world, twin(world, side));
      break;
  }
}

function toMember(world: World, member: Member, kind: number, b: number): void {
  switch (kind) {
    case messages.HAVE_TO_ALL:
      downloading.haveToAll(world, member, b);
      break;
    case messages.SENT:
      member.sending = false;
      uploading.serve(world, member);
      break;
    case messages.TICK:
      tick(world, member);
      break;
  }
}

function tick(world: World, member: Member): void {
  if (!member.alive) return;
  uploading.decide(world, member);
  uploading.reveal(world, member);
  if (member.picker !== undefined && member.picker.missing > 0) {
    downloading.stalls(world, member);
    downloading.fillAll(world, member);
  }
  world.clock.at(world.clock.now + meeting.TICK_MS, messages.TICK, member.id, 0);
}
