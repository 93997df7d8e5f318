/** How others reach this origin: what is written into metainfo and told to trackers. */
import os from 'node:os';
import type { FastifyRequest } from 'fastify';
import { formatHostPort, type HostPort } from '#http';
import type { Libp2pAddress, MemberAddress } from '#multiaddr';
import type { MetainfoSources } from '#torrent';
import type { Passkeys } from './access/index.ts';

export interface Addresses {
  /** This origin as members dial it, by plain TCP, libp2p or both; empty when it does not seed. */
  readonly peers: readonly MemberAddress[];
  /** The sources of a blob's metainfo for this client; `path` is the blob's. */
  sourcesFor(request: FastifyRequest, path: string, passkeys: Passkeys | undefined): MetainfoSources;
  /** The URL of this origin as this client sees it, without a slash at its end. */
  baseFor(request: FastifyRequest): string;
}

export function createAddresses(options: {
  readonly publicUrl: string | undefined;
  readonly advertise: string | undefined;
  readonly secure: boolean;
  /** The registry's listener, for a request whose Host header is of no use. */
  readonly registry: () => HostPort;
  readonly bittorrent: HostPort | undefined;
  readonly libp2p: (HostPort & Libp2pAddress) | undefined;
  readonly udp: HostPort | undefined;
  /** Trackers that run alone, without the path of their announces. */
  readonly trackers: readonly string[];
}): Addresses {
  const { publicUrl, advertise, bittorrent, libp2p, udp } = options;
  const reachable = (address: HostPort): HostPort => ({
    host: advertise ?? dialable(address.host),
    port: address.port,
  });
  const peers = membersAt(bittorrent && reachable(bittorrent), libp2p && { ...libp2p, ...reachable(libp2p) });
  const udpAnnounce = udp ? [`udp://${formatHostPort(reachable(udp))}/announce`] : [];
  const elsewhere = options.trackers.map((url) => `${url}/announce`);

  const baseFor = (request: FastifyRequest): string => {
    if (publicUrl !== undefined) return publicUrl.replace(/\/+$/, '');
    const scheme = options.secure ? 'https' : 'http';
    const host = hostHeader(request.headers.host);
    return `${scheme}://${host ?? formatHostPort(reachable(options.registry()))}`;
  };

  return {
    peers,
    baseFor,
    sourcesFor(request, path, passkeys) {
      const base = baseFor(request);
      const announce = withPasskey(passkeys?.announce);
      return {
        announce: [`${base}/announce`, ...udpAnnounce, ...elsewhere].map(announce),
        webSeeds: [`${base}${path}`].map(withPasskey(passkeys?.blob)),
        peers,
      };
    },
  };
}

function withPasskey(passkey: string | undefined): (url: string) => string {
  return (url) => (passkey === undefined ? url : `${url}?passkey=${passkey}`);
}

/** One member, unless the listeners are on different hosts. */
function membersAt(
  plain: HostPort | undefined,
  libp2p: (HostPort & Libp2pAddress) | undefined,
): MemberAddress[] {
  if (libp2p === undefined) return plain ? [plain] : [];
  const { host, port, peerId } = libp2p;
  const spoken = { libp2p: { port, peerId } };
  if (plain?.host === host) return [{ ...plain, ...spoken }];
  return [...(plain ? [plain] : []), { host, port, ...spoken }];
}

/** A Host header that is a host and perhaps a port, and nothing that would bend a URL. */
function hostHeader(text: string | undefined): string | undefined {
  if (text === undefined || text.length > 255) return undefined;
  const plain = /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?$/.exec(
    text,
  );
  return plain && Number(plain[1] ?? 0) <= 65535 ? text : undefined;
}

/** A listener on every interface is named by the first address that is not the loopback. */
function dialable(host: string): string {
  if (host !== '0.0.0.0' && host !== '::') return host;
  const family = host === '::' ? undefined : 'IPv4';
  const found = Object.values(os.networkInterfaces())
    .flatMap((list) => list ?? [])
    .find(
      (entry) =>
        !entry.internal &&
        (family === undefined || entry.family === family) &&
        !entry.address.startsWith('fe80:'),
    );
  return found?.address ?? (host === '::' ? '::1' : '127.0.0.1');
}
