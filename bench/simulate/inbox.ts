/**
 * What members are told of pieces. It is most of what happens, twenty messages for each piece that a
 * node gets, and each would look into another picker that is not near the processor. So an
 * announcement waits until its receiver looks at its picker for a reason of its own: nothing that is
 * decided can tell the difference.
 */
import { INBOX, type Member, type World } from './world.ts';

/** Puts an announcement by the other side of `number` aside. False when the inbox is full. */
export function put(world: World, receiver: number, number: number, piece: number): boolean {
  const unread = world.unread[receiver] ?? 0;
  if (unread === INBOX) return false;
  const at = receiver * INBOX + unread;
  world.inbox[at] = number;
  world.inbox[at + 1] = piece;
  world.unread[receiver] = unread + 2;
  return true;
}

/** Tells the picker, before anything is asked of it. */
export function read(world: World, member: Member): void {
  const unread = world.unread[member.id] ?? 0;
  if (unread === 0) return;
  world.unread[member.id] = 0;
  const from = member.id * INBOX;
  for (let at = from; at < from + unread; at += 2) {
    member.picker?.have(world.inbox[at] ?? 0, world.inbox[at + 1] ?? 0);
  }
}
