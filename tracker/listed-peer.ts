/**
 * How somebody is named in answers to announces. Made once and kept with who it names: an answer lists
 * fifty, and a tracker gives thousands of answers a second.
 */
import { formatMultiaddr, type Libp2pAddress } from '#multiaddr';
import { packAddress } from './ip.ts';

/** libtorrent and others: a listen port that cannot be dialled is announced as 1. */
export const UNREACHABLE_PORT = 1;

export interface ListedPeer {
  /** As it is advertised: an IP address or a DNS name. */
  readonly host: string;
  /** For compact answers; undefined when only a name is known. */
  readonly ip: string | undefined;
  /** Plain TCP; undefined when it speaks libp2p only. */
  readonly port: number | undefined;
  readonly libp2p?: Libp2pAddress | undefined;
  readonly peerId?: string | undefined;
  readonly zone?: string | undefined;
  /** Host and the port by which it is told from others. */
  readonly address: string;
  /** Its entry in an answer that is not compact (BEP 3), as latin1, for callers that speak libp2p and for others. */
  readonly described: (libp2p: boolean) => string;
  /** Its 6 or 18 bytes (BEP 23, BEP 7); undefined when it has no place in a compact answer. */
  readonly packed: () => Buffer | undefined;
}

export function createListedPeer(
  given: Pick<ListedPeer, 'host' | 'ip' | 'port' | 'libp2p' | 'peerId' | 'zone'>,
): ListedPeer {
  const { host, ip, port, libp2p } = given;
  let plain: string | undefined;
  let both: string | undefined;
  let packed: Buffer | undefined;
  return {
    ...given,
    address: `${host} ${port ?? libp2p?.port ?? UNREACHABLE_PORT}`,
    described(withLibp2p) {
      if (withLibp2p && libp2p !== undefined) {
        both ??= describe(given, libp2p);
        return both;
      }
      plain ??= describe(given, undefined);
      return plain;
    },
    packed() {
      if (ip === undefined || port === undefined) return undefined;
      packed ??= packAddress(ip, port);
      return packed;
    },
  };
}

/** A dictionary with its keys in their order; `peer`, a multiaddr, and `zone` are ours. */
function describe(
  { host, port, peerId, zone, libp2p: known }: Parameters<typeof createListedPeer>[0],
  libp2p: Libp2pAddress | undefined,
): string {
  const text = (value: string): string => `${Buffer.byteLength(value)}:${value}`;
  return [
    `d2:ip${text(host)}`,
    libp2p === undefined ? '' : `4:peer${text(formatMultiaddr({ host, ...libp2p }))}`,
    peerId === undefined ? '' : `7:peer id20:${Buffer.from(peerId, 'hex').toString('latin1')}`,
    `4:porti${port ?? known?.port ?? UNREACHABLE_PORT}e`,
    zone === undefined ? '' : `4:zone${text(zone)}`,
    'e',
  ].join('');
}
