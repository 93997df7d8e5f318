/** Numbers that both sides of a connection rely on. */

/** Requests that a peer may keep outstanding with us; told in the extended handshake. */
export const OUR_REQUEST_QUEUE = 2_000;

/** Beyond this a peer ignores what we told it. Twice, because our word may not have reached it when it asks. */
export const MAX_QUEUED_REQUESTS = 2 * OUR_REQUEST_QUEUE;

/** What a peer takes when it did not tell: the smallest default among clients (libtorrent's old 250). */
export const DEFAULT_REQUEST_QUEUE = 250;

/** BEP 3 clients close after two minutes of silence. */
export const KEEP_ALIVE_MS = 100_000;

/** A peer that sent nothing for so long is gone. */
export const SILENCE_MS = 180_000;

/**
 * A peer that does not take a run of blocks for so long holds memory that others wait for. The
 * shortest run, 128 KiB, is taken in time at 4 KiB/s.
 */
export const TAKE_MS = 30_000;

/** What may wait to be sent to one peer: its runs of blocks, and small messages up to the info dictionary's size. */
export const MAX_UNSENT_BYTES = 4 * 1024 * 1024;

/** The name that other clients show. */
export const CLIENT = 'Shoal 0.1';

/** A refused or useless message. */
export const WASTE_MESSAGE = 1;

/** A block that nobody asked for: 16 KiB of traffic. */
export const WASTE_BLOCK = 8;

/** All pieces told once more. */
export const WASTE_BITFIELD = 32;
