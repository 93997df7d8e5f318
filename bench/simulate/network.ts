/**
 * Links with a rate. What is sent passes its links in order, each first come first served, and
 * cut through: a link begins with a block when its first byte is there. A connection has only so
 * much on its way (as a TCP window), so a slow receiver holds up its own connection and not the sender.
 */

export interface Link {
  bytesPerMs: number;
  /** When all that was given to it has passed. */
  freeAt: number;
  /** Bytes that passed, or will. */
  bytes: number;
}

export function createLink(bytesPerSecond: number): Link {
  return { bytesPerMs: bytesPerSecond / 1_000, freeAt: 0, bytes: 0 };
}

/** Sends through all links; returns when the last byte has left the last one. */
export function pass(path: readonly Link[], now: number, bytes: number): number {
  let finish = now;
  for (const link of path) {
    link.freeAt = Math.max(link.freeAt, now) + bytes / link.bytesPerMs;
    link.bytes += bytes;
    finish = Math.max(finish, link.freeAt);
  }
  return finish;
}
