/**
 * The BitTorrent side of the tracker, whatever the protocol: who may announce, who is known and what
 * an announce is answered with. Both listeners check a request before it comes this far.
 */
import type { Libp2pAddress, MemberAddress } from '#multiaddr';
import type { Logger, Metrics } from '#telemetry';
import type { InfoHash } from '#torrent';
import type { Admission, AdmittedSeed } from './admission.ts';
import type { Agents } from './agents.ts';
import { type ListedPeer, UNREACHABLE_PORT } from './listed-peer.ts';
import type { Members } from './members.ts';
import { choosePeers } from './peer-list.ts';
import { AdmissionError } from './questions.ts';
import type { Zones } from './zones.ts';

export type Protocol = 'http' | 'udp';
/** `refused`: no origin holds the blob. `invalid`: malformed. `failed`: the origin could not be asked. */
export type AnnounceResult = 'ok' | 'refused' | 'invalid' | 'failed';

export interface Counts {
  readonly complete: number;
  readonly incomplete: number;
}

/** What a member says (BEP 3), checked. */
export interface AnnounceRequest {
  readonly infoHash: InfoHash;
  /** 40 hex digits. */
  readonly peerId: string;
  /** Where it speaks from. */
  readonly ip: string;
  readonly port: number;
  readonly left: number;
  readonly event: 'started' | 'completed' | 'stopped' | undefined;
  readonly numwant: number;
  /** Undefined: it does not speak libp2p. With UNREACHABLE_PORT it only dials. */
  readonly libp2p?: Libp2pAddress | undefined;
}

export interface AnnounceAnswer extends Counts {
  /** Seconds until the next announce. */
  readonly interval: number;
  readonly peers: readonly ListedPeer[];
}

export interface Announcing {
  /** The answer, or why there is none, as its sender is told. */
  announce(protocol: Protocol, request: AnnounceRequest): Promise<AnnounceAnswer | string>;
  /** Counts an announce that a listener refused as malformed, or as one without the right passkey. */
  invalid(protocol: Protocol): void;
  /** Counts and logs an announce whose passkey could not be asked about; answers with what its sender is told. */
  failed(protocol: Protocol, error: AdmissionError): string;
  /** Members of a blob other than the origin's seeds, for a member on this machine. */
  peersOf(infoHash: InfoHash): readonly MemberAddress[];
  /** Members of each known blob among these. @throws AdmissionError when the origin cannot be asked now */
  scrape(infoHashes: readonly InfoHash[]): Promise<Map<InfoHash, Counts>>;
}

const LEECHER_INTERVAL_S = 30;
const SEED_INTERVAL_S = 600;
/** An agent announces each 30 s while it downloads; other clients keep to intervals of their own. */
const AGENT_SILENT_MS = 65_000;
const CLIENT_SILENT_MS = 20 * 60_000;
/** Enough to repair a blob from. */
const MOST_PEERS = 200;
export const UNKNOWN_BLOB = 'no origin of this tracker holds a blob with this infohash';

export function createAnnouncing(options: {
  readonly admission: Admission;
  readonly agents: Agents;
  readonly members: Members;
  readonly zones: Zones;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
}): Announcing {
  const { admission, agents, members, zones, now, log } = options;
  const announces = options.metrics.counter<'protocol' | 'result'>({
    name: 'shoal_tracker_announces_total',
    help: 'Announces by protocol and by how they were answered',
    labels: ['protocol', 'result'],
  });
  const count = (protocol: Protocol, result: AnnounceResult): void => announces.inc({ protocol, result });

  const countsOf = (infoHash: InfoHash, seeds: readonly AdmittedSeed[]): Counts => {
    const { complete, incomplete } = members.count(infoHash);
    return { complete: complete + agents.holders(infoHash).size + seeds.length, incomplete };
  };

  const candidatesOf = (infoHash: InfoHash, seeds: readonly AdmittedSeed[]) => ({
    members: members.of(infoHash),
    holders: agents.holders(infoHash),
    seeds,
    agentOf: agents.find,
    isLeased: agents.isLeased,
    now: now(),
  });

  const answer = (request: AnnounceRequest, seeds: readonly AdmittedSeed[]): AnnounceAnswer => {
    const { infoHash, peerId, ip, port, event, numwant, libp2p } = request;
    const left = event === 'completed' ? 0 : request.left;
    const complete = left === 0;
    const agent = agents.find(peerId, ip);
    if (event === 'stopped' || (complete && agent !== undefined && agents.holds(agent, infoHash))) {
      members.remove(infoHash, ip, peerId);
    } else {
      members.set(infoHash, {
        ...{ ip, port, peerId, left, zone: agent?.zone, leased: agent !== undefined },
        libp2p: libp2p?.port === UNREACHABLE_PORT ? undefined : libp2p,
        expiresAt: now() + (agent ? AGENT_SILENT_MS : CLIENT_SILENT_MS),
      });
    }
    const peers = choosePeers(
      {
        ...{ peerId, ip, port, complete },
        numwant: event === 'stopped' ? 0 : numwant,
        libp2p: libp2p !== undefined,
        levels: zones.levels(agent?.zone),
      },
      candidatesOf(infoHash, seeds),
    );
    const interval = complete ? SEED_INTERVAL_S : LEECHER_INTERVAL_S;
    return { interval, ...countsOf(infoHash, seeds), peers };
  };

  const failed = (protocol: Protocol, error: AdmissionError): string => {
    count(protocol, 'failed');
    if (error.cause !== undefined) log.warn({ err: error }, 'the origin could not be asked');
    return error.message;
  };

  return {
    async announce(protocol, request) {
      try {
        const seeds = await admission.seedsOf(request.infoHash);
        if (seeds === undefined) {
          count(protocol, 'refused');
          log.debug({ infoHash: request.infoHash }, 'announce refused');
          return UNKNOWN_BLOB;
        }
        const given = answer(request, seeds);
        count(protocol, 'ok');
        return given;
      } catch (error) {
        if (error instanceof AdmissionError) return failed(protocol, error);
        count(protocol, 'failed');
        log.error({ err: error }, 'announce failed');
        return 'internal error';
      }
    },
    invalid: (protocol) => count(protocol, 'invalid'),
    failed,
    peersOf(infoHash) {
      const here = {
        ...{ ip: '127.0.0.1', port: 0, peerId: '', complete: false, numwant: MOST_PEERS, libp2p: true },
        levels: zones.levels(undefined),
      };
      return choosePeers(here, candidatesOf(infoHash, [])).map(({ host, port, libp2p }) => ({
        ...{ host, port: port ?? libp2p?.port ?? UNREACHABLE_PORT },
        ...(libp2p && { libp2p }),
      }));
    },
    async scrape(infoHashes) {
      const found = new Map<InfoHash, Counts>();
      await Promise.all(
        infoHashes.map(async (infoHash) => {
          const seeds = await admission.seedsOf(infoHash);
          if (seeds !== undefined) found.set(infoHash, countsOf(infoHash, seeds));
        }),
      );
      return found;
    },
  };
}
