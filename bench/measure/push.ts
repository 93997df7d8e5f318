/** Blobs pushed to an origin the way any client pushes them. */
import { Readable } from 'node:stream';
import { content, contentDigest } from '../../test/support/content.ts';

/** Pushes `content(seed, size)` and waits until the origin has its piece hashes. Answers with the digest. */
export async function pushBlob(
  origin: string,
  repository: string,
  seed: number,
  size: number,
): Promise<string> {
  const digest = contentDigest(seed, size);
  const begun = await fetch(`${origin}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
  await begun.arrayBuffer();
  const location = new URL(begun.headers.get('location') ?? '', origin);
  location.searchParams.set('digest', digest);
  const pushed = await fetch(location, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream', 'content-length': String(size) },
    body: Readable.toWeb(Readable.from(content(seed, size), { objectMode: false })) as ReadableStream,
    duplex: 'half',
  });
  await pushed.arrayBuffer();
  if (pushed.status !== 201) throw new Error(`the push was answered with ${pushed.status}`);
  const torrent = await fetch(`${origin}/v2/${repository}/_shoal/torrents/${digest}`);
  await torrent.arrayBuffer();
  if (!torrent.ok) throw new Error(`the torrent was answered with ${torrent.status}`);
  return digest;
}

/** Pushes an image of one layer that is there already, under a tag. */
export async function pushImage(
  origin: string,
  repository: string,
  tag: string,
  layer: { readonly digest: string; readonly size: number },
): Promise<void> {
  const config = { seed: 999, size: 512 };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: await pushBlob(origin, repository, config.seed, config.size),
      size: config.size,
    },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...layer }],
  };
  const pushed = await fetch(`${origin}/v2/${repository}/manifests/${tag}`, {
    method: 'PUT',
    headers: { 'content-type': manifest.mediaType },
    body: JSON.stringify(manifest),
  });
  await pushed.arrayBuffer();
  if (pushed.status !== 201) throw new Error(`the manifest was answered with ${pushed.status}`);
}
