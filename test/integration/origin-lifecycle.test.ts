/** The origin as a member of the swarm, and how it stops. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { Level } from 'level';
import t from 'tap';
import { openBlobStore } from '#blobs';
import { createHashing } from '#hashing';
import { createSwarm } from '#swarm';
import { createLogger } from '#telemetry';
import { parseMetainfo } from '#torrent';
import { call, pushBlob, temporaryFolder, testOrigin } from '../support/origin.ts';

const log = createLogger({ program: 'test', level: 'silent' });

t.test('a blob is seeded from the moment that its torrent is known', async (t) => {
  const origin = await testOrigin(t);
  const bytes = randomBytes(3_000_000);
  const digest = await pushBlob(origin, 'a', bytes);
  const torrent = await origin.call('GET', `/v2/a/_shoal/torrents/${digest}`);
  const metainfo = parseMetainfo(torrent.body);

  const folder = await temporaryFolder(t);
  const level = new Level<string, Uint8Array>(path.join(folder, 'db'), { valueEncoding: 'view' });
  const hashing = createHashing({ threads: 1 });
  const store = await openBlobStore({ root: path.join(folder, 'blobs'), level, hashing, log });
  const swarm = await createSwarm({
    listen: undefined,
    lookup: async () => undefined,
    observer: {
      payload: () => undefined,
      pieceRejected: () => undefined,
      connected: () => undefined,
      disconnected: () => undefined,
      seedUnreadable: () => undefined,
    },
    log,
  });
  t.teardown(async () => {
    await swarm.close();
    await store.close();
    await hashing.close();
    await level.close();
  });
  const partial = await store.openPartial(metainfo);
  const download = swarm.download({ metainfo, store: partial });
  download.addPeers(metainfo.sources.peers.map((peer) => ({ ...peer, role: 'origin' })));
  await download.completed;
  t.equal((await partial.commit()).digest, digest);
  await download.close();
  await partial.close();
  const viaSwarm = { direction: 'out', via: 'swarm' };
  const sent = await origin.metric('shoal_origin_blob_bytes_total', viaSwarm);
  t.ok(sent >= bytes.length, `the origin counts what it sent over the swarm (${sent})`);
  t.equal(
    await origin.metric('shoal_swarm_payload_bytes_total', { direction: 'out', transport: 'tcp' }),
    sent,
  );
  t.equal(await origin.metric('shoal_origin_blob_bytes_total', { direction: 'out', via: 'http' }), 0);
});

t.test('the tracker answers for blobs that are here, and for no others', async (t) => {
  const origin = await testOrigin(t);
  const digest = await pushBlob(origin, 'a', randomBytes(1000));
  const { infoHash } = parseMetainfo((await origin.call('GET', `/v2/a/_shoal/torrents/${digest}`)).body);
  const announce = (hash: string) => {
    const escaped = hash.replaceAll(/../g, '%$&');
    const peer = '-XX0001-123456789012';
    return origin.call(
      'GET',
      `/announce?info_hash=${escaped}&peer_id=${peer}&port=6881&uploaded=0&downloaded=0&left=1000&compact=1`,
    );
  };
  const known = (await announce(infoHash)).body;
  const port = origin.origin.bittorrentAddress?.port ?? 0;
  t.ok(known.includes(Buffer.from([127, 0, 0, 1, port >> 8, port & 255])), 'the origin is among the peers');
  t.match((await announce('ab'.repeat(20))).body.toString(), /failure reason/);
  await origin.call('DELETE', `/v2/a/blobs/${digest}`);
  t.match((await announce(infoHash)).body.toString(), /failure reason/, 'a deleted blob is not tracked');
});

t.test('what streams is finished before the origin stops, and nothing new is begun', async (t) => {
  const origin = await testOrigin(t);
  const bytes = randomBytes(32 << 20);
  const digest = await pushBlob(origin, 'a', bytes);
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const request = http.get(`${origin.url}/v2/a/blobs/${digest}`, { agent });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const chunks: Buffer[] = [];
  let closed: Promise<void> | undefined;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    closed ??= origin.origin.close();
  }
  t.ok(Buffer.concat(chunks).equals(bytes), 'the whole blob came');
  await closed;
  await t.rejects(call('GET', `${origin.url}/v2/`), { code: 'ECONNREFUSED' });
  await origin.origin.close();
});
