/**
 * A large blob that nobody has to keep: its bytes follow from their positions. Each 16 KiB begin with
 * their own number, so that a block in a wrong place has a wrong hash.
 */
import { createHash, randomFillSync } from 'node:crypto';
import { type Metainfo, pieceLengthFor } from '#torrent';
import { type Described, toMetainfo } from '../pair/files.ts';

const UNIT = 16_384;
const HEADER = 8;

export interface Content {
  fill(position: number, into: Uint8Array): void;
}

/** `noise` is a unit's other bytes, the same in all units. */
export function createContent(noise: Uint8Array): Content {
  return {
    fill(position, into) {
      const view = Buffer.from(into.buffer, into.byteOffset, into.byteLength);
      for (let at = 0; at < view.length; ) {
        const unit = Math.floor((position + at) / UNIT);
        const within = (position + at) % UNIT;
        const length = Math.min(UNIT - within, view.length - at);
        const header = Buffer.alloc(HEADER);
        header.writeBigUInt64BE(BigInt(unit));
        view.set(noise.subarray(within, within + length), at);
        if (within < HEADER) view.set(header.subarray(within, Math.min(HEADER, within + length)), at);
        at += length;
      }
    },
  };
}

export const createNoise = (): Buffer => randomFillSync(Buffer.alloc(UNIT));

/** Hashes all of it; some fifteen seconds for 10 GiB. */
export function describeContent(content: Content, length: number): Described {
  const pieceLength = pieceLengthFor(length);
  const whole = createHash('sha256');
  const pieces: Buffer[] = [];
  const buffer = Buffer.alloc(pieceLength);
  for (let at = 0; at < length; at += pieceLength) {
    const piece = buffer.subarray(0, Math.min(pieceLength, length - at));
    content.fill(at, piece);
    whole.update(piece);
    pieces.push(createHash('sha1').update(piece).digest());
  }
  return {
    digest: `sha256:${whole.digest('hex')}`,
    length,
    pieces: Buffer.concat(pieces).toString('hex'),
  };
}

/** What the processes of one run are told. */
export interface Given {
  readonly described: Described;
  /** Base64. */
  readonly noise: string;
}

export function fromGiven(text: string): { readonly metainfo: Metainfo; readonly content: Content } {
  const { described, noise } = JSON.parse(text) as Given;
  return { metainfo: toMetainfo(described), content: createContent(Buffer.from(noise, 'base64')) };
}

/** The bytes in order, a chunk at a time. */
export function* chunks(content: Content, length: number): Generator<Buffer> {
  const most = 1024 * 1024;
  for (let at = 0; at < length; at += most) {
    const chunk = Buffer.allocUnsafe(Math.min(most, length - at));
    content.fill(at, chunk);
    yield chunk;
  }
}
