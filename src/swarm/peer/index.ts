/**
 * One connection with a member about one blob, after both handshakes: the protocol's state on
 * both sides, the requests we have out, the blocks they want, and what they may waste. A peer
 * decides nothing: it tells its owner (the blob's swarm) what happened, and does what it is told.
 */
export { createSendMemory, type SendMemory } from './memory.ts';
export { createPeer, type Peer, type PeerEvents, type PeerOptions } from './peer.ts';
