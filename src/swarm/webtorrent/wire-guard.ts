/**
 * What a peer may send. bittorrent-protocol buffers a message of any length and believes every
 * index, so each message is checked here before it is handled. The first violation ends the
 * connection: nothing that follows in the same chunk is parsed.
 *
 * The checks are put on the one wire as own methods, which its parser finds before those of the
 * prototype; no other user of the library is touched.
 */
import type { Wire } from 'webtorrent';

/** The block size that we ask for, and the largest that we take (BEP 3). */
export const BLOCK_BYTES = 16 * 1024;
/** The largest block that we give; members that ask for more are cut (BEP 3). */
export const MAX_REQUEST_BYTES = 128 * 1024;
const MAX_EXTENDED_BYTES = 64 * 1024;

/**
 * Messages that carry no block: so many at once, and so many a second after that. A member that
 * completes pieces sends one `have` for each, and each block may be cancelled.
 */
const CONTROL_BURST = 4_096;
const CONTROL_PER_SECOND = 1_024;
const BITFIELD_COST = 64;

const BITFIELD = 5;
const REQUEST = 6;
const PIECE = 7;
const EXTENDED = 20;
const HAVE_ALL = 0x0e;
const HAVE_NONE = 0x0f;

/** Exact payload length by message id (BEP 3, BEP 6), the id itself counted. */
const EXACT_BYTES: Readonly<Record<number, number>> = {
  0: 1, // choke
  1: 1, // unchoke
  2: 1, // interested
  3: 1, // not interested
  4: 5, // have
  6: 13, // request
  8: 13, // cancel
  9: 3, // port
  13: 5, // suggest
  [HAVE_ALL]: 1,
  [HAVE_NONE]: 1,
  16: 13, // reject
  17: 5, // allowed fast
};
/** Messages whose first number is a piece index. */
const WITH_INDEX: ReadonlySet<number> = new Set([4, 6, 7, 8, 13, 16, 17]);

export interface WireGuard {
  /** One message without a block: false when the member sends too many. */
  spendControl(): boolean;
}

/** `violate` must end the connection. */
export function guardWire(
  wire: Wire,
  pieces: number,
  violate: (reason: string) => void,
  now: () => number = () => performance.now(),
): WireGuard {
  const bitfieldBytes = Math.ceil(pieces / 8);
  const longest = Math.max(9 + BLOCK_BYTES, 1 + bitfieldBytes, 2 + MAX_EXTENDED_BYTES);
  let control = CONTROL_BURST + pieces;
  let controlAt = now();
  let ended = false;

  const end = (reason: string): void => {
    ended = true;
    violate(reason);
    // What is left in the buffer is not looked at.
    wire._parse(Number.MAX_VALUE, () => {});
  };

  const spendControl = (cost = 1): boolean => {
    if (control < cost) {
      const at = now();
      control = Math.min(CONTROL_BURST + pieces, control + ((at - controlAt) / 1000) * CONTROL_PER_SECOND);
      controlAt = at;
    }
    control -= cost;
    return control >= 0;
  };

  /** The reason to end the connection, or undefined. */
  const check = (message: Uint8Array): string | undefined => {
    const id = message[0] ?? -1;
    const exact = EXACT_BYTES[id];
    if (exact !== undefined && message.length !== exact) return `message ${id} of ${message.length} bytes`;
    if (WITH_INDEX.has(id) && message.length >= 5 && readUint32(message, 1) >= pieces) {
      return `message ${id} names piece ${readUint32(message, 1)} of ${pieces}`;
    }
    if (id === PIECE) return checkPiece(message);
    // How many of these may wait is bounded where they are served.
    if (id === REQUEST) return undefined;
    if (id === EXTENDED && (message.length < 2 || message.length > 2 + MAX_EXTENDED_BYTES)) {
      return `extended message of ${message.length} bytes`;
    }
    if (id === BITFIELD) {
      const reason = checkBitfield(message, pieces);
      if (reason !== undefined) return reason;
    }
    // aria2 sends a bitfield anew in place of many `have`; it costs us a look at every piece.
    const cost = id === BITFIELD || id === HAVE_ALL || id === HAVE_NONE ? BITFIELD_COST : 1;
    return spendControl(cost) ? undefined : 'message flood';
  };

  const handleLength = wire._onMessageLength;
  wire._onMessageLength = (bytes) => {
    if (ended) return;
    const length = readUint32(bytes, 0);
    if (length > longest) return end(`message of ${length} bytes`);
    if (length === 0 && !spendControl()) return end('keep-alive flood');
    handleLength.call(wire, bytes);
  };

  const handle = wire._onMessage;
  wire._onMessage = (message) => {
    if (ended) return;
    const reason = check(message);
    if (reason !== undefined) return end(reason);
    try {
      handle.call(wire, message);
    } catch (error) {
      // Extensions of the library throw at odd dictionaries; that is the sender's fault.
      end(
        `message ${message[0]} was not understood: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  };

  return { spendControl };
}

function checkPiece(message: Uint8Array): string | undefined {
  const block = message.length - 9;
  return block > 0 && block <= BLOCK_BYTES ? undefined : `block of ${block} bytes`;
}

/** BEP 3: exactly one bit a piece, and the spare bits at the end are zero. */
function checkBitfield(message: Uint8Array, pieces: number): string | undefined {
  if (message.length !== 1 + Math.ceil(pieces / 8)) return `bitfield of ${message.length - 1} bytes`;
  const spare = message.length * 8 - 8 - pieces;
  const last = message[message.length - 1] ?? 0;
  return (last & ((1 << spare) - 1)) === 0 ? undefined : 'bitfield with spare bits set';
}

function readUint32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) |
      ((bytes[at + 1] ?? 0) << 16) |
      ((bytes[at + 2] ?? 0) << 8) |
      (bytes[at + 3] ?? 0)) >>>
    0
  );
}
