/**
 * Announces over HTTP (BEP 3), on our own client and not on bittorrent-tracker's: that one takes no
 * custom CA, reads an answer of any size, and rejects without a handler when a body is cut, which
 * ends the process. Ours also keeps its connections, so that an announce costs one round trip.
 */
import type { HttpClient } from '#http';
import { formatMultiaddr } from '#multiaddr';
import { type AnnounceTarget, PEERS_WANTED, type Self, UNREACHABLE_PORT } from './announce.ts';
import { parseAnswer, TrackerAnswerError } from './bencoded-answer.ts';

const MAX_ANSWER_BYTES = 256 * 1024;

/** `address`: what `client` dials, when that is one of several. */
export function httpTarget(url: string, client: HttpClient, self: Self, address?: string): AnnounceTarget {
  // A parameter of ours, which says that multiaddrs are understood, and where we are reached by one.
  const ours = self.libp2p ? `&peer=${encodeURIComponent(formatMultiaddr(self.libp2p))}` : '';
  return {
    url,
    address,
    async announce({ infoHash, event, left }, signal) {
      const query =
        `info_hash=${percent(infoHash)}&peer_id=${percent(self.peerId)}` +
        `&port=${self.address?.port ?? UNREACHABLE_PORT}&uploaded=0&downloaded=0&left=${left}` +
        // Not compact: the answer can carry host names, zones, and peer ids by which we leave ourselves out.
        `&compact=0&numwant=${event === 'stopped' ? 0 : PEERS_WANTED}${event ? `&event=${event}` : ''}${ours}`;
      const response = await client.request(`${url}${url.includes('?') ? '&' : '?'}${query}`, { signal });
      const body = await client.read(response, MAX_ANSWER_BYTES);
      if (response.status !== 200) throw new TrackerAnswerError(`the tracker answered ${response.status}`);
      return parseAnswer(body, self.peerId);
    },
  };
}

/** Hex digits as the percent-encoded bytes of a query. */
function percent(hex: string): string {
  return hex.replace(/../g, '%$&');
}
