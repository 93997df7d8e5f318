/**
 * Which pieces a seed shows to whom (super-seeding, after BEP 16). The origin and lone seeds tell
 * a peer of a few pieces at a time, distinct ones to distinct peers, so that each byte leaves once
 * and the peers exchange the rest.
 *
 *     const seeding = createSeeding<Peer>({ pieceCount });
 *     seeding.join(peer, now);                    // and have / haveAll / bitfield as they come
 *     seeding.taken(peer, piece, now);            // when the piece's last block went to its socket
 *     for (const { peer, piece } of seeding.revealAll(now)) peer.announce(piece); // after each of these, and four times a second
 */
export { createSeeding, type Revelation, type Seeding, type SeedingOptions } from './seeding.ts';
