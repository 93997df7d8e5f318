/**
 * One blob's swarm: it owns the blob's peers and every change of their and its state. Events come
 * from peers, from the owner (addPeers, prioritise, offer) and from one clock; each is handled to
 * its end before the next.
 */
export { type Bans, createBans } from './bans.ts';
export { createBlob } from './blob.ts';
export type { Blob, Commons } from './contract.ts';
export { createPieceMemory, type PieceMemory } from './pieces.ts';
export { createVerifier, type Verifier } from './verifier.ts';
