/**
 * The extended handshake (BEP 10) and the answering side of the metadata extension (BEP 9), so
 * that a client which has only a magnet link can get the info dictionary from us. We never ask
 * for metadata: ours came with the blob.
 */
import { type Bencoded, BencodeError, decodeBencodeLoosely, encodeBencode } from '#bencode';
import { writeExtendedHeader } from './messages.ts';
import { WireError } from './wire-error.ts';

/** BEP 9 sends the info dictionary in pieces of 16 KiB. */
export const METADATA_PIECE_BYTES = 16_384;

/** The id under which peers send us `ut_metadata`. */
const OUR_METADATA_ID = 1;

/** Keys of our own; other clients ignore them. */
const ZONE_KEY = 'shoal_zone';
const SEED_KEY = 'shoal_seed';
const MAX_ZONE_BYTES = 255;

export interface ExtendedHandshake {
  /** The sender's listening port, when it told us. */
  readonly port?: number;
  /** The sender's zone. */
  readonly zone?: string;
  /** The sender has the whole blob, whatever of it it has shown (super-seeding). */
  readonly seed?: true;
  /** Requests that the sender keeps outstanding for us. */
  readonly requestQueue?: number;
  /** Name and version of the client. */
  readonly client?: string;
  /** The id under which the sender wants `ut_metadata` messages. */
  readonly metadataId?: number;
}

function frame(extendedId: number, ...payload: readonly Uint8Array[]): Buffer {
  const header = Buffer.alloc(6);
  const length = payload.reduce((sum, part) => sum + part.length, 0);
  writeExtendedHeader(header, extendedId, length);
  return Buffer.concat([header, ...payload]);
}

/** Our extended handshake as a whole message. `metadataBytes` is the size of the info dictionary. */
export function encodeExtendedHandshake(offer: {
  readonly port: number | undefined;
  readonly zone: string | undefined;
  readonly seed: boolean;
  readonly requestQueue: number;
  readonly client: string;
  readonly metadataBytes: number;
}): Buffer {
  const dictionary = encodeBencode({
    m: { ut_metadata: OUR_METADATA_ID },
    metadata_size: offer.metadataBytes,
    ...(offer.port !== undefined && { p: offer.port }),
    reqq: offer.requestQueue,
    ...(offer.seed && { [SEED_KEY]: 1 }),
    ...(offer.zone !== undefined && { [ZONE_KEY]: offer.zone }),
    v: offer.client,
  });
  return frame(0, dictionary);
}

/** @throws WireError when it is no dictionary */
function dictionaryIn(payload: Uint8Array, what: string): ReadonlyMap<string, Bencoded> {
  let value: Bencoded;
  try {
    value = decodeBencodeLoosely(payload);
  } catch (error) {
    if (error instanceof BencodeError) throw new WireError(`${what}: ${error.message}`);
    throw error;
  }
  if (!(value instanceof Map)) throw new WireError(`${what} is not a dictionary`);
  return value;
}

function numberIn(value: Bencoded | undefined, from: number, to: number): number | undefined {
  return typeof value === 'number' && value >= from && value <= to ? value : undefined;
}

/** Parses a peer's extended handshake. Unknown or absurd entries are left out; broken bencoding throws WireError. */
export function decodeExtendedHandshake(payload: Uint8Array): ExtendedHandshake {
  const value = dictionaryIn(payload, 'extended handshake');
  const names = value.get('m');
  const port = numberIn(value.get('p'), 1, 65_535);
  const requestQueue = numberIn(value.get('reqq'), 1, 1_000_000);
  const client = value.get('v');
  const zone = value.get(ZONE_KEY);
  const metadataId = names instanceof Map ? numberIn(names.get('ut_metadata'), 1, 255) : undefined;
  return {
    ...(port !== undefined && { port }),
    ...(requestQueue !== undefined && { requestQueue }),
    ...(client instanceof Uint8Array && { client: Buffer.from(client).toString('utf8').slice(0, 64) }),
    ...(value.get(SEED_KEY) === 1 && { seed: true }),
    ...(zone instanceof Uint8Array &&
      zone.length <= MAX_ZONE_BYTES && { zone: Buffer.from(zone).toString('utf8') }),
    ...(metadataId !== undefined && { metadataId }),
  };
}

/** A peer asks for one 16 KiB piece of the info dictionary. */
export interface MetadataRequest {
  readonly piece: number;
}

/** Parses a message under our `ut_metadata` id; undefined for what we did not ask for (data, reject). */
export function decodeMetadataMessage(extendedId: number, payload: Uint8Array): MetadataRequest | undefined {
  if (extendedId !== OUR_METADATA_ID) return undefined;
  const value = dictionaryIn(payload, 'metadata message');
  const piece = numberIn(value.get('piece'), 0, 0xffff_ffff);
  if (piece === undefined) throw new WireError('metadata message without a piece');
  return value.get('msg_type') === 0 ? { piece } : undefined;
}

/** One piece of the info dictionary as a whole message, under the id that the peer chose. */
export function encodeMetadataPiece(metadataId: number, piece: number, info: Uint8Array): Buffer {
  const dictionary = encodeBencode({ msg_type: 1, piece, total_size: info.length });
  const start = piece * METADATA_PIECE_BYTES;
  return frame(metadataId, dictionary, info.subarray(start, start + METADATA_PIECE_BYTES));
}

/** The refusal of a metadata request. */
export function encodeMetadataReject(metadataId: number, piece: number): Buffer {
  return frame(metadataId, encodeBencode({ msg_type: 2, piece }));
}
