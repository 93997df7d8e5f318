/** The few calls of the distribution API that tests make without a container client. */
import { Readable } from 'node:stream';
import { request } from 'undici';
import { content, contentDigest, digestOf } from './content.ts';

/** Pushes `content(seed, size)` in one streamed PUT and answers with its digest. */
export async function pushBlob(registry: string, name: string, seed: number, size: number): Promise<string> {
  const digest = contentDigest(seed, size);
  const begun = await request(`${registry}/v2/${name}/blobs/uploads/`, { method: 'POST' });
  await begun.body.dump();
  const location = new URL(String(begun.headers['location']), registry);
  location.searchParams.set('digest', digest);
  const put = await request(location, {
    method: 'PUT',
    body: Readable.from(content(seed, size)),
    headers: { 'content-type': 'application/octet-stream', 'content-length': String(size) },
    headersTimeout: 0,
  });
  const answer = await put.body.text();
  if (put.statusCode !== 201) throw new Error(`push answered ${put.statusCode}: ${answer}`);
  return digest;
}

/** Pulls a blob and answers with the digest and size of what came. */
export async function pullBlob(
  registry: string,
  name: string,
  digest: string,
): Promise<{ status: number; digest: string; size: number }> {
  const response = await request(`${registry}/v2/${name}/blobs/${digest}`, { bodyTimeout: 60_000 });
  return { status: response.statusCode, ...(await digestOf(response.body)) };
}
