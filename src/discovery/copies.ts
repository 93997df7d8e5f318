/** How many others hold a blob: a question to the trackers, for an agent that must let some go. */
import { z } from 'zod';
import { type Endpoints, endpointClient } from '#endpoints';
import type { HttpClient } from '#http';
import type { Logger } from '#telemetry';
import type { InfoHash } from '#torrent';

/** The most that a tracker answers at a time. */
const MAX_BLOBS = 1_000;
/** Somebody waits for room: who is silent is passed over. */
const DEADLINE_MS = 1_000;
const MAX_ANSWER_BYTES = 64 * 1024;

const counts = z.object({ zone: z.array(z.int().min(0)).max(MAX_BLOBS) });

/**
 * Of each of these blobs (the first thousand) how many other agents of our zone hold it, as the first tracker says that
 * answers; undefined when none does.
 */
export async function askCopies(
  options: {
    readonly trackers: Endpoints;
    readonly client: HttpClient;
    /** Our 20-byte BitTorrent peer id in hex. */
    readonly peerId: string;
    readonly log: Logger;
  },
  infoHashes: readonly InfoHash[],
): Promise<ReadonlyMap<InfoHash, number> | undefined> {
  const { client, peerId, log } = options;
  const blobs = infoHashes.slice(0, MAX_BLOBS);
  const body = JSON.stringify({ blobs });
  const signal = AbortSignal.timeout(DEADLINE_MS);
  for (const tracker of options.trackers.current()) {
    const url = `${tracker.url}/api/v1/agents/${peerId}/copies`;
    try {
      const headers = { 'content-type': 'application/json' };
      const response = await endpointClient(client, tracker).request(url, {
        method: 'POST',
        headers,
        body,
        signal,
      });
      const answer = await client.read(response, MAX_ANSWER_BYTES);
      if (response.status !== 200) throw new Error(`answered ${response.status}`);
      const { zone } = counts.parse(JSON.parse(answer.toString('utf8')));
      if (zone.length !== blobs.length)
        throw new Error(`answered for ${zone.length} of ${blobs.length} blobs`);
      return new Map(blobs.map((infoHash, index) => [infoHash, zone[index] ?? 0]));
    } catch (error) {
      log.debug(
        { tracker: tracker.name, reason: String(error) },
        'the tracker does not say who else holds our blobs',
      );
    }
  }
  return undefined;
}
