/**
 * Small messages on their way to one peer. They are gathered while events are handled and leave
 * as one write: a thousand requests or HAVEs cost one system call.
 */
import { FIXED_MESSAGE_BYTES, writeKeepAlive, writeMessage } from '../wire/index.ts';

const FIRST_BYTES = 512;
const MAX_BYTES = 32_768;

export interface Outbox {
  /** Adds a message; see `writeMessage`. */
  add(name: Parameters<typeof writeMessage>[2], first?: number, second?: number, third?: number): void;
  /** As `add`, for what may wait: it leaves along with the next message, or at `flush`. */
  addLater(...message: Parameters<Outbox['add']>): void;
  addKeepAlive(): void;
  /** Adds a message that was encoded elsewhere. */
  addBytes(bytes: Uint8Array): void;
  /** Sends what was gathered. Called before block data too, so that order is kept, and at every tick. */
  flush(): void;
}

/** An outbox over `send`. It flushes by itself at the end of the current event. */
export function createOutbox(send: (bytes: Uint8Array) => void): Outbox {
  let buffer = Buffer.allocUnsafe(FIRST_BYTES);
  let used = 0;
  let scheduled = false;

  function flush(): void {
    if (used === 0) return;
    const bytes = buffer.subarray(0, used);
    // The written part belongs to the socket until it is sent; the rest of the buffer goes on.
    buffer = buffer.subarray(used);
    used = 0;
    send(bytes);
  }

  function reserve(bytes: number): void {
    makeRoom(bytes);
    if (scheduled) return;
    scheduled = true;
    // After all of this event's handlers and promises, before the next event.
    setImmediate(() => {
      scheduled = false;
      flush();
    });
  }

  function makeRoom(bytes: number): void {
    if (buffer.length - used < bytes) {
      const grown = Buffer.allocUnsafe(Math.max(FIRST_BYTES, bytes, Math.min(MAX_BYTES, 4 * used)));
      if (used + bytes <= grown.length) {
        buffer.copy(grown, 0, 0, used);
      } else {
        flush();
      }
      buffer = grown;
    }
  }

  return {
    add(name, first, second, third) {
      reserve(FIXED_MESSAGE_BYTES);
      used = writeMessage(buffer, used, name, first, second, third);
    },
    addLater(name, first, second, third) {
      makeRoom(FIXED_MESSAGE_BYTES);
      used = writeMessage(buffer, used, name, first, second, third);
    },
    addKeepAlive() {
      reserve(4);
      used = writeKeepAlive(buffer, used);
    },
    addBytes(bytes) {
      reserve(bytes.length);
      buffer.set(bytes, used);
      used += bytes.length;
    },
    flush,
  };
}
