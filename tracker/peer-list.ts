/**
 * Which members an announce is answered with. The conditions, in the order of the code:
 * - a seed needs no seeds, and who leaves needs nobody;
 * - members that announced and agents that hold the blob come first, a random choice of them;
 * - the origin's seeds come last, and have their places also in a large swarm;
 * - never the caller itself, nobody twice, nobody who only dials;
 * - who speaks libp2p only is given to callers that speak it: to others its port would be a riddle;
 * - a member on the loopback is given to callers on the loopback only: for others that address is
 *   their own machine.
 */

import { formatMultiaddr, type Libp2pAddress, plainPort } from '#multiaddr';
import type { AdmittedSeed } from './admission.ts';
import type { AgentRecord } from './agents.ts';
import { isLoopback, packAddress } from './ip.ts';
import { type Member, UNREACHABLE_PORT } from './members.ts';

export interface ListedPeer {
  /** As it is advertised: an IP address or a DNS name. */
  readonly host: string;
  /** For compact answers; undefined when only a name is known. */
  readonly ip: string | undefined;
  /** Plain TCP; undefined when it speaks libp2p only. */
  readonly port: number | undefined;
  readonly libp2p?: Libp2pAddress | undefined;
  readonly peerId?: string;
  readonly zone?: string;
}

export interface Caller {
  readonly peerId: string;
  readonly ip: string;
  readonly port: number;
  readonly complete: boolean;
  readonly numwant: number;
  /** It speaks libp2p. */
  readonly libp2p: boolean;
}

export interface Candidates {
  readonly members: Iterable<Member>;
  readonly memberCount: number;
  readonly holders: ReadonlySet<AgentRecord>;
  readonly seeds: readonly AdmittedSeed[];
  /** The agent behind an announcing member, which says better where it is reached. */
  readonly agentOf: (peerId: string, ip: string) => AgentRecord | undefined;
}

export function choosePeers(caller: Caller, candidates: Candidates): ListedPeer[] {
  const { numwant } = caller;
  const seeds = caller.complete ? [] : candidates.seeds;
  const chosen: ListedPeer[] = [];
  const taken = new Set([`${caller.ip} ${caller.port}`]);
  const take = (peer: ListedPeer | undefined): void => {
    if (peer === undefined || peer.peerId === caller.peerId) return;
    if (isLoopback(peer.host) && !isLoopback(caller.ip)) return;
    const port = peer.port ?? (caller.libp2p ? peer.libp2p?.port : undefined);
    if (port === undefined) return;
    const address = `${peer.host} ${port}`;
    if (taken.has(address)) return;
    taken.add(address);
    chosen.push(caller.libp2p ? peer : { ...peer, libp2p: undefined });
  };

  // Selection sampling: one pass, each candidate with the same chance.
  const reserved = Math.min(seeds.length, Math.max(0, numwant - 1));
  const holders = caller.complete ? 0 : candidates.holders.size;
  let rest = candidates.memberCount + holders;
  const lucky = (): boolean => {
    const picked = Math.random() * rest < numwant - reserved - chosen.length;
    rest -= 1;
    return picked;
  };
  const full = (): boolean => chosen.length >= numwant - reserved;
  for (const member of candidates.members) {
    if (full()) break;
    if (lucky() && !(caller.complete && member.complete)) take(listedMember(member, candidates.agentOf));
  }
  for (const agent of caller.complete ? [] : candidates.holders) {
    if (full()) break;
    if (lucky()) take(listedAgent(agent));
  }
  for (const seed of seeds) {
    const { host, ip, libp2p } = seed;
    if (chosen.length < numwant) take({ host, ip, port: plainPort(seed), libp2p });
  }
  return chosen;
}

function listedMember(member: Member, agentOf: Candidates['agentOf']): ListedPeer | undefined {
  const agent = agentOf(member.peerId, member.ip);
  if (agent !== undefined) return listedAgent(agent);
  // An agent that said goodbye.
  if (member.leased) return undefined;
  const { ip, port, libp2p, peerId } = member;
  return { host: ip, ip, port: port === UNREACHABLE_PORT ? undefined : port, libp2p, peerId };
}

function listedAgent(agent: AgentRecord): ListedPeer {
  const { host, ip, port, libp2p, peerId, zone } = agent;
  // A compact answer has no room for a name: the address that the agent spoke from stands in for it.
  const packable = host !== undefined && packAddress(host, UNREACHABLE_PORT) !== undefined;
  const shown = { host: host ?? ip, ip: packable ? host : ip };
  return { ...shown, port, libp2p, peerId, ...(zone !== undefined && { zone }) };
}

/** The two lists of a compact HTTP answer (BEP 23, BEP 7). */
export function packPeers(peers: readonly ListedPeer[]): { readonly v4: Buffer; readonly v6: Buffer } {
  const packed = peers.map(({ ip, port }) =>
    ip === undefined || port === undefined ? undefined : packAddress(ip, port),
  );
  const ofSize = (size: number): Buffer =>
    Buffer.concat(packed.filter((entry) => entry !== undefined && entry.length === size) as Buffer[]);
  return { v4: ofSize(6), v6: ofSize(18) };
}

/** The list of an answer that is not compact (BEP 3), with keys of ours: the zone, and `peer`, a multiaddr. */
export function describePeers(peers: readonly ListedPeer[]): Record<string, string | number | Uint8Array>[] {
  return peers.map(({ host, port, libp2p, peerId, zone }) => ({
    ip: host,
    port: port ?? libp2p?.port ?? UNREACHABLE_PORT,
    ...(libp2p !== undefined && { peer: formatMultiaddr({ host, ...libp2p }) }),
    ...(peerId !== undefined && { 'peer id': Buffer.from(peerId, 'hex') }),
    ...(zone !== undefined && { zone }),
  }));
}
