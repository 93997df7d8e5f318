/** An origin whose blobs are in S3: real clients push and pull, it is killed in the middle, and agents pull through the swarm. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import { encodeMetainfo, parseMetainfo } from '#torrent';
import { libtorrent } from '../support/bittorrent-clients.ts';
import { needs } from '../support/debian.ts';
import { call, temporaryFolder } from '../support/origin.ts';
import { startS3Server } from '../support/s3-server.ts';
import { startProgram } from '../support/shoal.ts';

const run = promisify(execFile);

t.test('push, kill -9, push again, pull by skopeo and through an agent', async (t) => {
  await needs(t, ['skopeo', 'python3-libtorrent']);
  const server = await startS3Server(t);
  const origin = await startProgram(t, 'origin', [
    ...['--storage-kind', 's3', '--storage-s3-bucket', await server.newBucket(), '--storage-s3-prefix', 'o'],
    ...['--storage-s3-endpoint', server.endpoint, '--storage-s3-region', 'default'],
  ]);
  const agent = await startProgram(t, 'agent', ['--origin', origin.url]);
  const layer = randomBytes(60 << 20);
  const digest = sha256DigestOf(layer);

  const begun = await call('POST', `${origin.url}/v2/team/app/blobs/uploads/`);
  const location = `${origin.url}${begun.headers['location']}`;
  t.equal((await call('PATCH', location, { body: layer })).status, 202);
  const committing = call('PUT', `${location}?digest=${digest}`).catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, 60));
  await origin.signal('SIGKILL');
  const answered = (await committing)?.status;
  await origin.restart();
  if (answered !== 201) t.equal((await call('PUT', `${location}?digest=${digest}`)).status, 201, 'retried');
  const blob = `/v2/team/app/blobs/${digest}`;
  t.ok((await call('GET', `${origin.url}${blob}`)).body.equals(layer), 'from the origin');
  const part = await call('GET', `${origin.url}${blob}`, { headers: { range: 'bytes=5000000-5000099' } });
  t.ok(part.body.equals(layer.subarray(5_000_000, 5_000_100)));
  t.ok((await call('GET', `${agent.url}${blob}`)).body.equals(layer), 'through the agent');

  const folder = await temporaryFolder(t);
  const downloads = await temporaryFolder(t);
  const metainfo = parseMetainfo(
    (await call('GET', `${origin.url}/v2/team/app/_shoal/torrents/${digest}`)).body,
  );
  const torrent = path.join(downloads, 'layer.torrent');
  await writeFile(torrent, encodeMetainfo(metainfo, { ...metainfo.sources, webSeeds: [] }));
  await libtorrent(t, torrent, downloads);
  t.ok((await readFile(path.join(downloads, digest.slice('sha256:'.length)))).equals(layer), 'by the swarm');

  const config = Buffer.from(
    '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}',
  );
  const put = await call(
    'POST',
    `${origin.url}/v2/team/app/blobs/uploads/?digest=${sha256DigestOf(config)}`,
    {
      body: config,
    },
  );
  t.equal(put.status, 201);
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = JSON.stringify({
    ...{ schemaVersion: 2, mediaType },
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      ...{ digest: sha256DigestOf(config), size: config.length },
    },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size: layer.length }],
  });
  const tagged = `${origin.url}/v2/team/app/manifests/v1`;
  t.equal(
    (await call('PUT', tagged, { headers: { 'content-type': mediaType }, body: manifest })).status,
    201,
  );
  const registry = `docker://${new URL(origin.url).host}/team`;
  const insecure = ['--src-tls-verify=false', '--dest-tls-verify=false'];
  await run('skopeo', ['copy', '--src-tls-verify=false', `${registry}/app:v1`, `dir:${folder}`]);
  await run('skopeo', ['copy', ...insecure, `dir:${folder}`, `${registry}/copy:v1`]);
  const copied = await call('GET', `${origin.url}/v2/team/copy/blobs/${digest}`);
  t.ok(copied.body.equals(layer), 'pushed by skopeo');
  t.notMatch(origin.log(), new RegExp(server.secretAccessKey), 'no secret is logged');
});
