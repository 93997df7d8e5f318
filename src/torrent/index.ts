/**
 * The torrent of a blob: metainfo (BEP 3), piece length, infohash and digest both ways.
 * The info dictionary follows from the blob's bytes alone, so two origins that never spoke
 * make the same swarm. Everything parsed here is bounded and checked before it is believed.
 */

export { type MetainfoCatalog, openMetainfoCatalog } from './catalog.ts';
export { createDraft, type Draft, type GrowingDraft, isDraftable } from './draft.ts';
export {
  createDraftParser,
  DRAFT_END,
  DRAFT_MEDIA_TYPE,
  DRAFT_WAITING,
  type DraftEvents,
  type DraftHeader,
  type DraftParser,
  encodeDraftFailure,
  encodeDraftHashes,
  encodeDraftHeader,
} from './draft-stream.ts';
export { FIRST_LEAF_BYTES, firstLeavesBytes, isFirstLeaf } from './first-leaves.ts';
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
  type HashGrowth,
  knownPieces,
  MAX_METAINFO_BYTES,
  type Metainfo,
  MetainfoError,
  type MetainfoSources,
  NO_SOURCES,
  parseMetainfo,
  pieceCount,
  pieceHash,
  pieceLengthFor,
  pieceSize,
  type Torrent,
} from './metainfo.ts';
