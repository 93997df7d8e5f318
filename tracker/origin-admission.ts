/** Admission for a tracker that runs alone: the origins are asked over HTTP, in their order. */
import { z } from 'zod';
import type { HttpClient } from '#http';
import { parseMembers } from '#multiaddr';
import type { PeerAddress } from '#swarm';
import type { Admit } from './admission.ts';
import { isHost } from './ip.ts';

const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_SEEDS = 16;
/** For one origin, so that a dead first one leaves time to ask the next. */
const DEADLINE_MS = 2_000;

/** The part of `GET /api/v1/torrents/<infohash>` that is used here. */
const torrent = z.object({ peers: z.array(z.string().max(300)).max(1_000) });

/**
 * A blob is admitted when one origin holds it; the seeds are those of the first that does. When
 * none does but not every one answered, it is not known: the promise rejects.
 */
export function admitByOrigins(origins: readonly string[], client: HttpClient): Admit {
  const ask = async (
    origin: string,
    infoHash: string,
    signal: AbortSignal,
  ): Promise<readonly PeerAddress[] | undefined> => {
    const response = await client.request(`${origin}/api/v1/torrents/${infoHash}`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]),
    });
    const body = await client.read(response, MAX_ANSWER_BYTES);
    if (response.status === 404) return undefined;
    if (response.status !== 200) throw new Error(`${origin} answered ${response.status}`);
    const { peers } = torrent.parse(JSON.parse(body.toString('utf8')));
    return parseMembers(peers.slice(0, MAX_SEEDS))
      .filter(({ host }) => isHost(host))
      .map((member) => ({ ...member, role: 'origin' }));
  };
  return async (infoHash, signal) => {
    const failures: unknown[] = [];
    for (const origin of origins) {
      try {
        const seeds = await ask(origin, infoHash, signal);
        if (seeds !== undefined) return { seeds };
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'not every origin answered');
    return undefined;
  };
}
