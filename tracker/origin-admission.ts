/**
 * Admission for a tracker that runs alone: the origins are asked over HTTP, in their order. An origin
 * with access control asks the tracker for the right `join`, and says itself whom a passkey lets in:
 * its keys stay with it, and rules that were taken back count at once.
 */
import { z } from 'zod';
import { type Endpoint, type Endpoints, endpointClient } from '#endpoints';
import type { HttpClient } from '#http';
import { parseMembers } from '#multiaddr';
import type { PeerAddress } from '#swarm';
import type { Admit } from './admission.ts';
import type { MayAnnounce } from './announce-http.ts';
import { isHost } from './ip.ts';
import { createQuestions } from './questions.ts';

const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_SEEDS = 16;
/** Longer than any that an origin gives. */
const MAX_PASSKEY = 1_024;
/** For one origin, so that a dead first one leaves time to ask the next. */
const DEADLINE_MS = 2_000;
/** A right that was taken back ends after this; a passkey that was refused is asked about again soon. */
const MAY_MS = 30_000;
const MAY_NOT_MS = 2_000;

/** The part of `GET /api/v1/torrents/<infohash>` that is used here. */
const torrent = z.object({ peers: z.array(z.string().max(300)).max(1_000) });
/** `GET /api/v1/torrents/<infohash>/announce?passkey=`. */
const verdict = z.object({ held: z.boolean(), mayAnnounce: z.boolean() });

/** The JSON of one origin; undefined for 404. */
async function askOrigin(
  client: HttpClient,
  origin: Endpoint,
  where: string,
  signal: AbortSignal,
): Promise<unknown> {
  const response = await endpointClient(client, origin).request(`${origin.url}/api/v1/torrents/${where}`, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]),
  });
  const body = await client.read(response, MAX_ANSWER_BYTES);
  if (response.status === 404) return undefined;
  if (response.status === 401 || response.status === 403) {
    throw new Error(
      `${origin.name} answered ${response.status}: it has access control; give the tracker a user with the right 'join' by --auth-file, or --auth-username and --auth-password-file`,
    );
  }
  if (response.status !== 200) throw new Error(`${origin.name} answered ${response.status}`);
  return JSON.parse(body.toString('utf8'));
}

/**
 * A blob is admitted when one origin holds it; the seeds are those of the first that does. When
 * none does but not every one answered, it is not known: the promise rejects.
 */
export function admitByOrigins(origins: Endpoints, client: HttpClient): Admit {
  const ask = async (
    origin: Endpoint,
    infoHash: string,
    signal: AbortSignal,
  ): Promise<readonly PeerAddress[] | undefined> => {
    const answer = await askOrigin(client, origin, infoHash, signal);
    if (answer === undefined) return undefined;
    const { peers } = torrent.parse(answer);
    return parseMembers(peers.slice(0, MAX_SEEDS))
      .filter(({ host }) => isHost(host))
      .map((member) => ({ ...member, role: 'origin' }));
  };
  return async (infoHash, signal) => {
    const failures: unknown[] = unresolved(origins);
    for (const origin of origins.current()) {
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

/**
 * An origin that holds the blob lets the passkey in, or no origin minds: then it is for all, or nowhere,
 * which admission says. An origin without access control does not open what only another one holds.
 */
export function mayAnnounceByOrigins(origins: Endpoints, client: HttpClient, now: () => number): MayAnnounce {
  const questions = createQuestions({
    async answer(key, signal) {
      const [infoHash = '', passkey = ''] = key.split(' ');
      const where = `${infoHash}/announce?passkey=${encodeURIComponent(passkey)}`;
      const failures: unknown[] = unresolved(origins);
      let nobodyMinds = true;
      for (const origin of origins.current()) {
        try {
          const { held, mayAnnounce } = verdict.parse(await askOrigin(client, origin, where, signal));
          if (held && mayAnnounce) return true;
          nobodyMinds &&= mayAnnounce;
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw new AggregateError(failures, 'not every origin answered');
      return nobodyMinds;
    },
    knownMs: (may) => (may ? MAY_MS : MAY_NOT_MS),
    now,
  });
  return (infoHash, passkey = '') =>
    passkey.length <= MAX_PASSKEY && /^[A-Za-z0-9_-]*$/.test(passkey)
      ? questions.ask(`${infoHash} ${passkey}`)
      : false;
}

/** Origins that nobody can ask yet have not answered either. */
function unresolved(origins: Endpoints): unknown[] {
  return origins.unresolved().map((url) => new Error(`the name in ${url} is not resolved`));
}
