/**
 * The BitTorrent peer wire protocol: BEP 3, BEP 6 (fast), BEP 10 (extended handshake) and the
 * answering side of BEP 9 (metadata). Bytes in, typed events out, and back; no sockets, no
 * clocks, no policy. Whatever a peer sends, this room either understands it or throws a
 * `WireError` with the reason.
 *
 *     const decoder = createDecoder(events, { pieceCount: 100 });
 *     socket.on('data', (chunk) => decoder.push(chunk)); // throws WireError
 *
 * Block payloads are copied once, from the receive buffer to where `blockStart` says.
 */
export { createDecoder, type Decoder, type DecoderLimits, type WireEvents } from './decoder.ts';
export {
  decodeExtendedHandshake,
  decodeMetadataMessage,
  type ExtendedHandshake,
  encodeExtendedHandshake,
  encodeMetadataPiece,
  encodeMetadataReject,
  METADATA_PIECE_BYTES,
  type MetadataRequest,
} from './extension.ts';
export {
  encodeHandshake,
  HANDSHAKE_BYTES,
  type Handshake,
  parseHandshake,
} from './handshake.ts';
export {
  BLOCK_BYTES,
  BLOCK_HEADER_BYTES,
  FIXED_MESSAGE_BYTES,
  type MessageName,
  writeBitfield,
  writeBlockHeader,
  writeExtendedHeader,
  writeKeepAlive,
  writeMessage,
} from './messages.ts';
export { WireError } from './wire-error.ts';
