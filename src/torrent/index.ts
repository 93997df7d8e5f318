/**
 * The torrent of a blob: metainfo (BEP 3), piece length, infohash and digest both ways.
 * The info dictionary follows from the blob's bytes alone, so two origins that never spoke
 * make the same swarm. Everything parsed here is bounded and checked before it is believed.
 */

export { type MetainfoCatalog, openMetainfoCatalog } from './catalog.ts';
export { type InfoHash, parseInfoHash } from './info-hash.ts';
export {
  createLeaves,
  encodeLeaves,
  isLeaf,
  LEAVES_MEDIA_TYPE,
  type Leaves,
  LeavesError,
  leafLengthFor,
  leafSize,
  MAX_LEAVES_BYTES,
  parseLeaves,
} from './leaves.ts';
export {
  createMetainfo,
  encodeMetainfo,
  MAX_METAINFO_BYTES,
  type Metainfo,
  MetainfoError,
  type MetainfoSources,
  parseMetainfo,
  pieceCount,
  pieceHash,
  pieceLengthFor,
  pieceSize,
} from './metainfo.ts';
