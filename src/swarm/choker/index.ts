/**
 * Who may download from us. In a cluster everybody is cooperative, so this is not tit-for-tat: all
 * that are interested are unchoked up to a number of slots; above it the slots go round, near
 * peers and those with the fewest bytes from us first, so that nobody starves.
 *
 *     const choker = createChoker<Peer>({ slots: 32 });
 *     for (const peer of peers) peer.setChoking(!choker.decide(candidates, now).has(peer));
 */
export { type ChokeCandidate, type Choker, type ChokerOptions, createChoker } from './choker.ts';
