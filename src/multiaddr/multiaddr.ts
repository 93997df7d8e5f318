/**
 * Where members are reached, as text: `HOST:PORT` is plain BitTorrent over TCP, a multiaddr
 * (https://multiformats.io/multiaddr) is libp2p. Only the one form of multiaddr that members have
 * is read, `/ip4/10.0.0.7/tcp/4001/p2p/12D3KooW…` (or `/ip6`, `/dns`), so that nothing of what a
 * stranger may write there reaches a library.
 */
import { isIPv4, isIPv6 } from 'node:net';

/** A libp2p listener and who answers there. */
export interface Libp2pAddress {
  /** TCP. */
  readonly port: number;
  /** As text: `12D3KooW…`. */
  readonly peerId: string;
}

/** A member: where it speaks plain TCP, libp2p, or both, on one host. */
export interface MemberAddress {
  /** An IP address or a DNS name. */
  readonly host: string;
  /** Where it speaks plain TCP; the same as `libp2p.port` when it speaks libp2p only. */
  readonly port: number;
  readonly libp2p?: Libp2pAddress;
}

/**
 * The peer id of an Ed25519 key, which ours are: base58 of 38 bytes whose first six are always
 * the same (https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md).
 */
const PEER_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;

const NAME = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/i;

export function isPeerId(text: string): boolean {
  return PEER_ID.test(text);
}

/** Undefined when it is not such an address. `host` is undefined in the short form `/tcp/PORT/p2p/ID`. */
export function parseMultiaddr(text: string): (Libp2pAddress & { readonly host?: string }) | undefined {
  const match = /^(?:\/(ip4|ip6|dns|dns4|dns6)\/([^/]{1,253}))?\/tcp\/([1-9]\d{0,4})\/p2p\/(\w{52})$/.exec(
    text,
  );
  const [, kind, host, digits, peerId = ''] = match ?? [];
  const port = Number(digits);
  if (match === null || port > 65_535 || !isPeerId(peerId)) return undefined;
  if (host === undefined) return { port, peerId };
  const fits =
    kind === 'ip4' ? isIPv4(host) : kind === 'ip6' ? isIPv6(host) && !host.includes('%') : NAME.test(host);
  return fits ? { host, port, peerId } : undefined;
}

/** Without a host the short form, which is completed by who knows the host. */
export function formatMultiaddr(address: Libp2pAddress & { readonly host?: string | undefined }): string {
  const { host, port, peerId } = address;
  const rest = `/tcp/${port}/p2p/${peerId}`;
  if (host === undefined) return rest;
  return `/${isIPv4(host) ? 'ip4' : isIPv6(host) ? 'ip6' : 'dns'}/${host}${rest}`;
}

/** The port of plain TCP; undefined for a member that speaks libp2p only. */
export function plainPort(member: MemberAddress): number | undefined {
  return member.libp2p?.port === member.port ? undefined : member.port;
}

/** `HOST:PORT` for plain TCP, then a multiaddr for libp2p. */
export function formatMember(member: MemberAddress): string[] {
  const { host, port, libp2p } = member;
  const plain = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  return [
    ...(plainPort(member) === undefined ? [] : [plain]),
    ...(libp2p === undefined ? [] : [formatMultiaddr({ host, ...libp2p })]),
  ];
}

/**
 * The members that these texts name, in their order. A multiaddr belongs to the member of its host
 * that was named before it by `HOST:PORT`; else it is a member that speaks libp2p only. What is
 * neither form is left out.
 */
export function parseMembers(texts: readonly string[]): MemberAddress[] {
  const members: MemberAddress[] = [];
  for (const text of texts) {
    if (!text.startsWith('/')) {
      members.push(...parsePlain(text));
      continue;
    }
    const { host, port, peerId } = parseMultiaddr(text) ?? {};
    if (host === undefined || port === undefined || peerId === undefined) continue;
    const libp2p = { port, peerId };
    const at = members.findIndex((member) => member.host === host && member.libp2p === undefined);
    const known = members[at];
    if (known === undefined || known.port === port) members.push({ host, port, libp2p });
    else members[at] = { ...known, libp2p };
  }
  return members;
}

function parsePlain(text: string): MemberAddress[] {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([a-zA-Z0-9.-]{1,253})):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port > 0 && port <= 65_535 ? [{ host, port }] : [];
}
