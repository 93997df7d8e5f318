/**
 * What happens in a simulation: the kinds of the clock's events. Messages go to a side, which is
 * `a`; timers and broadcasts to a member, which is `a`. `b` is named behind each kind.
 */

/** Blocks are wanted of it. Parcel. */
export const REQUEST = 0;
/** The blocks that it asked for will not come: it is choked. Parcel. */
export const REJECT = 1;
/** A block is not wanted any more. Block. */
export const CANCEL = 2;
/** The other has a piece. Piece. */
export const HAVE = 3;
/** The other has what it has. */
export const BITFIELD = 4;
export const UNCHOKE = 5;
/** The other has left. */
export const GONE = 6;
/** A block that the other sent has arrived. Block. */
export const PIECE = 7;

/** From here on `a` is a member. It tells all its peers of a piece. Piece. */
export const HAVE_TO_ALL = 8;
/** Its uplink is free again. */
export const SENT = 9;
/** What a member does five times a second. */
export const TICK = 10;
