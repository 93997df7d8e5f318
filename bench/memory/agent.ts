/** A real agent as the downloader: it learns of the peers from the origin's tracker, and a client follows the blob. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { request } from 'undici';
import type { Metainfo } from '#torrent';
import { sumMetric } from '../../test/support/metrics-text.ts';
import { announce } from '../../test/support/tracker.ts';
import { startMeasured } from '../measure/program.ts';
import { type Content, chunks } from './content.ts';

const REPOSITORY = 'bench/memory';

export interface Pulled {
  readonly seconds: number;
  readonly peers: number;
  readonly fromPeersMib: number;
}

/** Pushes the blob to a new origin, announces the peers there, and pulls through a new agent. `watch` is called with the agent's pid. */
export async function pullThroughAgent(options: {
  readonly folder: string;
  readonly metainfo: Metainfo;
  readonly content: Content;
  readonly seeds: readonly { readonly port: number; readonly peerId: string }[];
  readonly watch: (pid: number) => void;
}): Promise<Pulled> {
  const { folder, metainfo, content, seeds } = options;
  const origin = await startMeasured('origin', ['--data', path.join(folder, 'origin')]);
  try {
    await push(origin.url, metainfo, content);
    await untilTorrent(`${origin.url}/v2/${REPOSITORY}/_shoal/torrents/${metainfo.digest}`);
    for (const { port, peerId } of seeds) {
      await announce(origin.url, {
        infoHash: metainfo.infoHash,
        peerId,
        port,
        left: 0,
        event: 'completed',
      });
    }
    const flags = ['--data', path.join(folder, 'agent'), '--origin', origin.url];
    const agent = await startMeasured('agent', [...flags, '--cache-size', `${metainfo.length * 2}`]);
    try {
      options.watch(agent.pid);
      const started = performance.now();
      let peers = 0;
      const counting = setInterval(() => {
        void agent.metrics().then((text) => {
          peers = Math.max(peers, sumMetric(text, 'shoal_peers_connected', {}));
        });
      }, 2_000);
      const { body, statusCode } = await request(`${agent.url}/v2/${REPOSITORY}/blobs/${metainfo.digest}`, {
        bodyTimeout: 60_000,
      });
      const hash = createHash('sha256');
      for await (const chunk of body) hash.update(chunk as Buffer);
      clearInterval(counting);
      const digest = `sha256:${hash.digest('hex')}`;
      if (statusCode !== 200 || digest !== metainfo.digest) throw new Error(`got ${statusCode} ${digest}`);
      const seconds = (performance.now() - started) / 1000;
      const bytes = sumMetric(await agent.metrics(), 'shoal_fetch_bytes_total', { from: 'peer' });
      return { seconds, peers, fromPeersMib: bytes / 1024 ** 2 };
    } finally {
      await agent.stop();
    }
  } finally {
    await origin.stop();
  }
}

async function push(origin: string, { digest, length }: Metainfo, content: Content): Promise<void> {
  const begun = await request(`${origin}/v2/${REPOSITORY}/blobs/uploads/`, { method: 'POST' });
  await begun.body.dump();
  const location = new URL(String(begun.headers['location']), origin);
  location.searchParams.set('digest', digest);
  const put = await request(location, {
    method: 'PUT',
    body: Readable.from(chunks(content, length)),
    headers: { 'content-type': 'application/octet-stream', 'content-length': String(length) },
    headersTimeout: 0,
  });
  const answer = await put.body.text();
  if (put.statusCode !== 201) throw new Error(`push answered ${put.statusCode}: ${answer}`);
}

/** The piece hashes are made behind the push; before that the tracker does not know the blob. */
async function untilTorrent(url: string): Promise<void> {
  for (;;) {
    const answer = await request(url, { headersTimeout: 120_000 });
    await answer.body.dump();
    if (answer.statusCode === 200) return;
    if (answer.statusCode !== 404 && answer.statusCode !== 503) throw new Error(`got ${answer.statusCode}`);
    await delay(200);
  }
}
