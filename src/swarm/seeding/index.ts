/**
 * Which pieces a seed shows to whom (super-seeding, after BEP 16). The origin and lone seeds tell
 * a peer of a few pieces at a time, distinct ones to distinct peers, so that each byte leaves once
 * and the peers exchange the rest.
 *
 *     const seeding = createSeeding<Peer>({ pieceCount });
 *     seeding.join(peer);                                     // and have / haveAll / bitfield as they come
 *     for (const piece of seeding.reveal(peer, now)) peer.announce(piece);
 *     seeding.taken(peer, piece);                             // its last block was handed to the socket: reveal again
 *     seeding.have(peer, piece);                              // it announced the piece: reveal again (to every peer that waits)
 */
export { createSeeding, type Seeding, type SeedingOptions } from './seeding.ts';
