/** The handshake (BEP 3) with the reserved bits of BEP 6 and BEP 10. */
import { type InfoHash, parseInfoHash } from '#torrent';
import { WireError } from './wire-error.ts';

export const HANDSHAKE_BYTES = 68;

const PROTOCOL = Buffer.from('\x13BitTorrent protocol', 'latin1');
const EXTENDED = { byte: 25, bit: 0x10 };
const FAST = { byte: 27, bit: 0x04 };

export interface Handshake {
  readonly infoHash: InfoHash;
  /** 20 bytes in hex. */
  readonly peerId: string;
  /** BEP 6. */
  readonly fast: boolean;
  /** BEP 10. */
  readonly extended: boolean;
}

/** Our handshake: we always offer the fast extension and the extended handshake. */
export function encodeHandshake(infoHash: InfoHash, peerId: string): Buffer {
  const bytes = Buffer.alloc(HANDSHAKE_BYTES);
  PROTOCOL.copy(bytes);
  bytes[EXTENDED.byte] = EXTENDED.bit;
  bytes[FAST.byte] = FAST.bit;
  bytes.write(infoHash, 28, 'hex');
  bytes.write(peerId, 48, 'hex');
  return bytes;
}

/**
 * Parses a handshake of which `bytes` may be only the beginning: undefined when more is needed.
 * Throws WireError at the first byte that cannot be one, so that a port scanner is not waited for.
 */
export function parseHandshake(bytes: Uint8Array): Handshake | undefined {
  const compared = Math.min(bytes.length, PROTOCOL.length);
  if (PROTOCOL.compare(bytes, 0, compared, 0, compared) !== 0) {
    throw new WireError('not a BitTorrent handshake');
  }
  if (bytes.length < HANDSHAKE_BYTES) return undefined;
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, HANDSHAKE_BYTES);
  const infoHash = parseInfoHash(view.toString('hex', 28, 48));
  if (infoHash === undefined) throw new WireError('not an infohash');
  return {
    infoHash,
    peerId: view.toString('hex', 48, 68),
    fast: ((bytes[FAST.byte] ?? 0) & FAST.bit) !== 0,
    extended: ((bytes[EXTENDED.byte] ?? 0) & EXTENDED.bit) !== 0,
  };
}
