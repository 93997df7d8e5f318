/**
 * Announces over UDP (BEP 15), by bittorrent-tracker's client: a socket for each announce, closed
 * with it. Its own repetition is switched off, because it takes any interval that a tracker names
 * (one that is large enough becomes a flood); when to announce is decided by the caller.
 */

import type { PeerAddress } from '#swarm';
import {
  type AnnounceTarget,
  intervalMs,
  MAX_PEERS,
  PEERS_WANTED,
  type Self,
  toPeer,
  UNREACHABLE_PORT,
} from './announce.ts';

export function udpTarget(url: string, self: Self): AnnounceTarget {
  return {
    url,
    async announce({ infoHash, event, left }, signal) {
      const { default: Client } = await import('bittorrent-tracker/client');
      signal.throwIfAborted();
      const client = new Client({
        infoHash,
        peerId: self.peerId,
        announce: [url],
        port: self.address?.port ?? UNREACHABLE_PORT,
        wrtc: false,
      });
      return new Promise((resolve, reject) => {
        const peers: PeerAddress[] = [];
        const end = (): void => {
          signal.removeEventListener('abort', onAbort);
          client.destroy();
        };
        const onAbort = (): void => {
          end();
          reject(signal.reason);
        };
        const onFailure = (error: Error): void => {
          end();
          reject(error);
        };
        signal.addEventListener('abort', onAbort);
        client.on('warning', onFailure);
        client.on('error', onFailure);
        client.on('peer', (text: string) => {
          const peer = parsePeer(text);
          if (peer && peers.length < MAX_PEERS) peers.push(peer);
        });
        client.on('update', () => {
          client.setInterval(0);
          // The peers of the answer are emitted before this turn of the loop ends.
          setImmediate(() => {
            end();
            // The client does not tell the interval; the one that is usual for those who download is taken.
            resolve({ intervalMs: intervalMs(undefined), peers });
          });
        });
        const said = { left, numwant: event === 'stopped' ? 0 : PEERS_WANTED };
        if (event === 'started') client.start(said);
        else if (event === 'completed') client.complete(said);
        else if (event === 'stopped') client.stop(said);
        else client.update(said);
      });
    },
  };
}

function parsePeer(text: string): PeerAddress | undefined {
  const colon = text.lastIndexOf(':');
  return toPeer(text.slice(0, colon).replace(/^\[|\]$/g, ''), Number(text.slice(colon + 1)));
}
