/**
 * One connection with a member about one blob, after both handshakes: the protocol's state on
 * both sides, the requests we have out, the blocks they want, and what they may waste. A peer
 * decides nothing: it tells its owner (the blob's swarm) what happened, and does what it is told.
 */

export type { AskedTally } from './asked.ts';
export type { Peer, PeerEvents, PeerOptions } from './contract.ts';
export { createSendMemory, type SendMemory } from './memory.ts';
export { createPeer } from './peer.ts';
