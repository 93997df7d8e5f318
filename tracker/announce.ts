/**
 * The BitTorrent side of the tracker, on bittorrent-tracker's server without its listeners: it
 * parses announces and encodes answers; who may announce, who is known and what is answered is
 * decided here. Both listeners check a request before it comes this far, so that nothing hostile
 * reaches the library.
 */
import Server, { type AnnounceAnswer, type AnnounceParams } from 'bittorrent-tracker/server';
import { type MemberAddress, parseMultiaddr } from '#multiaddr';
import type { Logger, Metrics } from '#telemetry';
import { type InfoHash, parseInfoHash } from '#torrent';
import type { Admission, AdmittedSeed } from './admission.ts';
import type { Agents } from './agents.ts';
import { plainIp } from './ip.ts';
import { type Members, memberKey, UNREACHABLE_PORT } from './members.ts';
import { choosePeers, describePeers, packPeers } from './peer-list.ts';
import { AdmissionError } from './questions.ts';

export type Protocol = 'http' | 'udp';
/** `refused`: no origin holds the blob. `invalid`: malformed. `failed`: the origin could not be asked. */
export type AnnounceResult = 'ok' | 'refused' | 'invalid' | 'failed';

export interface Counts {
  readonly complete: number;
  readonly incomplete: number;
}

export interface Announcing {
  readonly server: Server;
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
const AGENT_SILENT_MS = 95_000;
const CLIENT_SILENT_MS = 20 * 60_000;
/** Enough to repair a blob from. */
const MOST_PEERS = 200;
export const UNKNOWN_BLOB = 'no origin of this tracker holds a blob with this infohash';

export function createAnnouncing(options: {
  readonly admission: Admission;
  readonly agents: Agents;
  readonly members: Members;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
}): Announcing {
  const { admission, agents, members, now, log } = options;
  const announces = options.metrics.counter<'protocol' | 'result'>({
    name: 'shoal_tracker_announces_total',
    help: 'Announces by protocol and by how they were answered',
    labels: ['protocol', 'result'],
  });
  const count = (protocol: Protocol, result: AnnounceResult): void => announces.inc({ protocol, result });
  /** From admission to the answer to the same announce. */
  const admitted = new WeakMap<AnnounceParams, readonly AdmittedSeed[]>();

  const admit = async (params: AnnounceParams): Promise<void> => {
    const infoHash = parseInfoHash(params.info_hash);
    const seeds = infoHash && (await admission.seedsOf(infoHash));
    if (seeds === undefined) throw new RefusedError(UNKNOWN_BLOB);
    admitted.set(params, seeds);
  };

  const countsOf = (infoHash: InfoHash, seeds: readonly AdmittedSeed[]): Counts => {
    const { complete, incomplete } = members.count(infoHash);
    return { complete: complete + agents.holders(infoHash).size + seeds.length, incomplete };
  };

  const announce = (infoHash: InfoHash, params: AnnounceParams): AnnounceAnswer => {
    const seeds = admitted.get(params) ?? [];
    const { port, left, event, numwant, peer_id: peerId } = params;
    const ip = plainIp(params.ip);
    const complete = left === 0 || event === 'completed';
    const key = memberKey(ip, peerId);
    const ours = parseMultiaddr(params.peer ?? '');
    const libp2p = ours?.port === UNREACHABLE_PORT ? undefined : ours;
    const agent = agents.find(peerId, ip);
    const holders = agents.holders(infoHash);
    if (event === 'stopped' || (complete && agent !== undefined && holders.has(agent))) {
      members.remove(infoHash, key);
    } else {
      const expiresAt = now() + (agent ? AGENT_SILENT_MS : CLIENT_SILENT_MS);
      members.set(infoHash, {
        ...{ key, ip, port, libp2p, peerId, complete, leased: agent !== undefined, expiresAt },
      });
    }
    const known = members.count(infoHash);
    const counts = countsOf(infoHash, seeds);
    const peers = choosePeers(
      { peerId, ip, port, complete, numwant: event === 'stopped' ? 0 : numwant, libp2p: ours !== undefined },
      {
        members: members.of(infoHash),
        memberCount: known.complete + known.incomplete,
        holders,
        seeds,
        agentOf: agents.find,
      },
    );
    const interval = complete ? SEED_INTERVAL_S : LEECHER_INTERVAL_S;
    const wantsPacked = params.compact === 1;
    // Neither 0 nor 1: the library leaves the lists as they are. Its own packing loses IPv6 over UDP,
    // mangles peer ids, and throws for an address that it cannot parse.
    params.compact = -1;
    if (!wantsPacked) return { interval, ...counts, peers: describePeers(peers) };
    const { v4, v6 } = packPeers(peers);
    // BEP 15: over IPv6 each entry of the only list is an IPv6 address.
    if (params.type === 'udp') return { interval, ...counts, peers: ip.includes(':') ? v6 : v4 };
    return { interval, ...counts, peers: v4, ...(v6.length > 0 && { peers6: v6 }) };
  };

  const server = new Server({
    http: false,
    udp: false,
    ws: false,
    stats: false,
    filter(_infoHash, params, done) {
      admit(params).then(
        () => done(null),
        (error: unknown) => {
          const known = error instanceof RefusedError || error instanceof AdmissionError;
          count(params.type, error instanceof RefusedError ? 'refused' : 'failed');
          if (!known) log.error({ err: error }, 'announce failed');
          else if (error.cause !== undefined) log.warn({ err: error }, 'the origin could not be asked');
          done(known ? error : new Error('internal error'));
        },
      );
    },
  });
  // The library makes room for swarms of our own here.
  server.getSwarm = (hex, done) => {
    const infoHash = parseInfoHash(hex);
    if (infoHash === undefined) return done(new Error('invalid info_hash'));
    done(null, {
      announce(params, answer) {
        let result: AnnounceAnswer;
        try {
          result = announce(infoHash, params);
        } catch (error) {
          log.error({ err: error }, 'announce failed');
          count(params.type, 'failed');
          return answer(new Error('internal error'));
        }
        count(params.type, 'ok');
        answer(null, result);
      },
      scrape: (_params, answer) => answer(null, { complete: 0, incomplete: 0 }),
    });
  };
  server.on('warning', (error: Error) => log.debug({ reason: error.message }, 'announce refused'));

  return {
    server,
    peersOf(infoHash) {
      const { complete, incomplete } = members.count(infoHash);
      const here = {
        ip: '127.0.0.1',
        port: 0,
        peerId: '',
        complete: false,
        numwant: MOST_PEERS,
        libp2p: true,
      };
      const peers = choosePeers(here, {
        members: members.of(infoHash),
        memberCount: complete + incomplete,
        holders: agents.holders(infoHash),
        seeds: [],
        agentOf: agents.find,
      });
      return peers.map(({ host, port, libp2p }) => ({
        ...{ host, port: port ?? libp2p?.port ?? UNREACHABLE_PORT },
        ...(libp2p && { libp2p }),
      }));
    },
    invalid: (protocol) => count(protocol, 'invalid'),
    failed(protocol, error) {
      count(protocol, 'failed');
      if (error.cause !== undefined) log.warn({ err: error }, 'the origin could not be asked');
      return error.message;
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

class RefusedError extends Error {}
