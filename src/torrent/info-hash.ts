declare const brand: unique symbol;

/** A BitTorrent v1 infohash: 40 lower-case hex digits (SHA-1 of the info dictionary, BEP 3). */
export type InfoHash = string & { readonly [brand]: 'InfoHash' };

/** Checks and normalises a hex infohash. Returns undefined when it is not one. */
export function parseInfoHash(text: string): InfoHash | undefined {
  const lower = text.toLowerCase();
  return /^[0-9a-f]{40}$/.test(lower) ? (lower as InfoHash) : undefined;
}
