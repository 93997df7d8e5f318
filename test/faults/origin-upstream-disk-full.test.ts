/** A full disk refuses what comes from an upstream and does not fit, in words, and nothing else. */
import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import { someBytes } from '../support/in-process.ts';
import { temporaryFolder, testOrigin } from '../support/origin.ts';
import { rawUpstream, sendBlob } from '../support/raw-upstream.ts';

const run = promisify(execFile);

t.test('a blob that does not fit is refused, and what fits is fetched and served', async (t) => {
  const data = await temporaryFolder(t);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', data]);
  t.teardown(() => run('umount', ['-l', data]));
  const blobs = new Map(
    [1 << 20, 30 << 20, (30 << 20) + 1].map((size) => {
      const bytes = someBytes(size);
      return [sha256DigestOf(bytes), bytes] as const;
    }),
  );
  const [small = '', large = '', unsized = ''] = blobs.keys();
  const upstream = await rawUpstream(t, (request, response) => {
    const digest = [...blobs.keys()].find((each) => request.url?.endsWith(each));
    const bytes = digest && blobs.get(digest);
    if (!bytes) response.writeHead(404).end();
    else if (digest === unsized) response.writeHead(200, { 'transfer-encoding': 'chunked' }).end(bytes);
    else sendBlob(request, response, bytes);
  });
  const origin = await testOrigin(t, {
    data,
    upstreams: [{ name: 'hub.test', url: upstream.url, staleMs: 1000, timeoutMs: 5_000, isPublic: false }],
  });
  const ask = (digest: string) => origin.call('GET', `/v2/hub.test/a/b/blobs/${digest}`);

  for (const digest of [large, unsized]) {
    const refused = await ask(digest);
    t.same([refused.status, refused.errorCode()], [507, 'NO_SPACE']);
    t.match(refused.body.toString(), /ENOSPC/);
    t.same(await readdir(path.join(data, 'blobs/uploads')), [], 'half a blob does not keep the disk full');
  }
  const fits = await ask(small);
  t.equal(fits.status, 200);
  t.equal(sha256DigestOf(fits.body), small);
});
