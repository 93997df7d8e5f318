/**
 * Bencoding (BEP 3): one reader and one writer for torrents, peers and trackers. What is read comes from strangers: depth,
 * lengths and numbers are checked before they are believed, every step moves forward, and nothing is copied.
 */
export { type Bencoded, BencodeError, decodeBencode, decodeBencodeLoosely } from './decode.ts';
export { type Encodable, encodeBencode } from './encode.ts';
