/** What one stream has still to send, taken frame by frame without a copy. */
interface Write {
  readonly parts: readonly Uint8Array[];
  readonly taken: (() => void) | undefined;
  part: number;
  offset: number;
}

export interface SendQueue {
  /** Bytes that wait. */
  readonly bytes: number;
  /** Nothing waits, not even a write without bytes. */
  readonly isEmpty: boolean;
  push(parts: readonly Uint8Array[], taken: (() => void) | undefined): void;
  /**
   * Moves up to `limit` bytes to `parts`, and to `taken` the calls of the writes that are through with it.
   * Answers how many bytes it were.
   */
  take(limit: number, parts: Uint8Array[], taken: (() => void)[]): number;
  /** Drops all that waits; the calls of its writes. */
  drop(): (() => void)[];
}

export function createSendQueue(): SendQueue {
  const writes: Write[] = [];
  let waiting = 0;

  /** The first write that has bytes left; those before it are through. */
  function head(taken: (() => void)[]): Write | undefined {
    for (;;) {
      const [write] = writes;
      if (write === undefined || write.part < write.parts.length) return write;
      writes.shift();
      if (write.taken !== undefined) taken.push(write.taken);
    }
  }

  return {
    get bytes() {
      return waiting;
    },
    get isEmpty() {
      return writes.length === 0;
    },
    push(parts, taken) {
      writes.push({ parts, taken, part: 0, offset: 0 });
      for (const part of parts) waiting += part.length;
    },
    take(limit, parts, taken) {
      let bytes = 0;
      while (bytes < limit) {
        const write = head(taken);
        const part = write?.parts[write.part];
        if (write === undefined || part === undefined) break;
        const take = Math.min(limit - bytes, part.length - write.offset);
        if (take > 0) parts.push(part.subarray(write.offset, write.offset + take));
        bytes += take;
        write.offset += take;
        if (write.offset < part.length) break;
        write.part++;
        write.offset = 0;
      }
      head(taken);
      waiting -= bytes;
      return bytes;
    },
    drop() {
      waiting = 0;
      return writes.splice(0).flatMap(({ taken }) => taken ?? []);
    },
  };
}
