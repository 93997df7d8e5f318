/** Looks at everything that a node needs for its pulls, and says of what is wrong how to mend it. */
import { plainUrl } from '#endpoints';
import type { HostPort, HttpClient } from '#http';
import type { Tree } from '../tree.ts';
import { checkAgent } from './agent.ts';
import { checkClients, type NodeClient } from './clients.ts';
import { checkDisk } from './disk.ts';
import { type Finding, ok, wrong } from './finding.ts';
import { checkOrigins } from './origins.ts';

export interface Patient {
  /** Asks as the agent would: with its authorities and its log-in. */
  readonly http: HttpClient;
  readonly tree: Tree;
  readonly agent: string;
  readonly listen: HostPort;
  /** Where others dial this agent. */
  readonly peerListeners: readonly HostPort[];
  readonly origins: readonly string[];
  readonly data: string;
  readonly cacheSizeBytes: number | undefined;
  readonly version: string;
  readonly clients: readonly NodeClient[] | undefined;
  readonly containerdConfig: string;
}

export async function examine(patient: Patient): Promise<readonly Finding[]> {
  const { tree } = patient;
  const view = {
    text: async (file: string) => (await tree.read(file))?.toString('utf8'),
    list: (folder: string) => tree.list(folder),
  };
  const { findings, peerId, uid } = await checkAgent({ ...patient, url: patient.agent });
  const [clients, origins, disk] = await Promise.all([
    checkClients({ ...patient, view }),
    checkOrigins({ ...patient, peerId }),
    checkDisk({ ...patient, uid }),
  ]);
  return [...findings, ...clients, ...origins, ...listeners(patient), ...disk];
}

/** Listeners on the loopback are right only where the origin is there too. */
function listeners({ peerListeners, origins }: Patient): readonly Finding[] {
  const remote = origins.some((url) => !isLoopback(new URL(plainUrl(url)).hostname));
  if (!remote) return [];
  if (peerListeners.some(({ host }) => !isLoopback(host)))
    return [ok('listeners', 'other nodes can reach this agent')];
  return [
    wrong(
      'listeners',
      'the origin is on another machine, but this agent listens for other agents on the loopback only',
      "set peer.listen and bittorrent.listen to 0.0.0.0 or this node's address, with admission: open on a trusted network, then systemctl restart shoal-agent",
    ),
  ];
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || host === '::1' || /^127\./.test(host);
}
