/** Garbage collection in a running origin: what goes, what stays, and the moments between. */
import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { parseDigest, sha256DigestOf } from '#oci';
import type { OriginConfig } from '#origin';
import { until } from '../support/in-process.ts';
import {
  INDEX,
  imageOf,
  MANIFEST,
  pushBlob,
  putManifest,
  type TestOrigin,
  testOrigin,
} from '../support/origin.ts';

interface Report {
  readonly dryRun: boolean;
  readonly removed: Readonly<Record<'blob' | 'link' | 'manifest' | 'tag', number>>;
  readonly freedBytes: number;
  readonly items: readonly {
    kind: string;
    reason: string;
    digest: string;
    tag?: string;
    repository?: string;
  }[];
}

const LEASE_MS = 60_000;
let skipped = 0;
/** A clock that `leaseOver` moves on. */
const now = (): number => performance.timeOrigin + performance.now() + skipped;
const leaseOver = (): void => {
  skipped += 2 * LEASE_MS + 10;
};

/** Passes only when the test asks for one. */
function collecting(t: Test, collection: OriginConfig['collection'] = {}): Promise<TestOrigin> {
  return testOrigin(t, { collection: { leaseMs: LEASE_MS, intervalMs: undefined, now, ...collection } });
}

async function collect(origin: TestOrigin, query = ''): Promise<Report> {
  const answer = await origin.call('POST', `/api/v1/gc${query}`);
  if (answer.status !== 200) throw new Error(`POST gc answered ${answer.status}: ${answer.body}`);
  return answer.json() as Report;
}

function onDisk(origin: TestOrigin, digest: string): Promise<boolean> {
  const hex = digest.slice('sha256:'.length);
  const file = path.join(origin.data, 'blobs', 'sha256', hex.slice(0, 2), hex);
  return stat(file).then(
    () => true,
    () => false,
  );
}

t.test('a blob without a manifest goes after its lease, file, torrent and all', async (t) => {
  const origin = await collecting(t);
  const bytes = randomBytes(300_000);
  const digest = await pushBlob(origin, 'a/b', bytes);
  const torrent = await origin.call('GET', `/v2/a/b/_shoal/torrents/${digest}`);
  t.equal(torrent.status, 200);
  leaseOver();

  const dry = await collect(origin, '?dryRun=true');
  t.match(dry, { dryRun: true, removed: { link: 1, blob: 1 }, freedBytes: bytes.length });
  t.equal((await origin.call('HEAD', `/v2/a/b/blobs/${digest}`)).status, 200, 'a dry run removes nothing');
  t.match((await collect(origin)).removed, { link: 0, blob: 0 }, 'and the HEAD gave it a new lease');
  leaseOver();
  const report = await collect(origin);
  t.match(report.removed, { link: 1, blob: 1 });
  t.match(report.items[0], { kind: 'link', reason: 'unreferenced', repository: 'a/b', digest });
  t.match(report.items[1], { kind: 'blob', reason: 'unheld', digest });
  for (const where of [`blobs/${digest}`, `_shoal/torrents/${digest}`]) {
    t.equal((await origin.call('GET', `/v2/a/b/${where}`)).status, 404);
  }
  t.equal(await onDisk(origin, digest), false);
  t.equal(await origin.metric('shoal_origin_gc_freed_bytes_total'), bytes.length);
  t.equal(await origin.metric('shoal_origin_gc_removed_total', { kind: 'blob', reason: 'unheld' }), 1);
  const state = (await origin.call('GET', '/api/v1/gc')).json() as { recent: object[]; last: Report };
  t.match(state.recent[0], { kind: 'blob', digest });
});

t.test('what manifests refer to stays, and follows the last of them', async (t) => {
  const origin = await collecting(t);
  const layer = randomBytes(1000);
  const image = await imageOf(origin, 'a', [layer]);
  await putManifest(origin, 'a', 'v1', image);
  await putManifest(origin, 'a', 'v2', image);
  leaseOver();
  t.match((await collect(origin)).removed, { link: 0, blob: 0, manifest: 0 });
  const digest = sha256DigestOf(image);
  t.equal((await origin.call('DELETE', `/v2/a/manifests/${digest}`)).status, 202);
  t.match(
    (await collect(origin)).removed,
    { link: 0, blob: 0 },
    'not before the lease that the delete began',
  );
  leaseOver();
  t.match((await collect(origin)).removed, { link: 2, blob: 2 });
  t.equal(await onDisk(origin, sha256DigestOf(layer)), false);
});

t.test('a blob that another repository holds keeps its bytes', async (t) => {
  const origin = await collecting(t);
  const layer = randomBytes(1000);
  const image = await imageOf(origin, 'kept', [layer]);
  await putManifest(origin, 'kept', 'v1', image);
  const digest = sha256DigestOf(layer);
  const mounted = await origin.call('POST', `/v2/other/blobs/uploads/?mount=${digest}&from=kept`);
  t.equal(mounted.status, 201);
  leaseOver();
  t.match((await collect(origin)).removed, { link: 1, blob: 0 });
  t.equal((await origin.call('GET', `/v2/other/blobs/${digest}`)).status, 404);
  t.ok((await origin.call('GET', `/v2/kept/blobs/${digest}`)).body.equals(layer));
});

t.test('untagged manifests go only when it is configured, and never from under an index', async (t) => {
  const origin = await collecting(t, { untaggedMs: LEASE_MS });
  const image = await imageOf(origin, 'a', [randomBytes(10)]);
  const lone = await imageOf(origin, 'a', [randomBytes(11)]);
  for (const each of [image, lone]) await putManifest(origin, 'a', sha256DigestOf(each), each);
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: INDEX,
      manifests: [{ mediaType: MANIFEST, digest: sha256DigestOf(image), size: image.length }],
    }),
  );
  t.equal((await putManifest(origin, 'a', 'multi', index, INDEX)).status, 201);
  leaseOver();
  const report = await collect(origin);
  t.equal(report.removed.manifest, 1);
  t.match(
    report.items.find(({ kind }) => kind === 'manifest'),
    { reason: 'untagged', digest: sha256DigestOf(lone) },
  );
  t.equal((await origin.call('GET', `/v2/a/manifests/${sha256DigestOf(image)}`)).status, 200);

  const careful = await collecting(t);
  const kept = await imageOf(careful, 'a', [randomBytes(10)]);
  await putManifest(careful, 'a', sha256DigestOf(kept), kept);
  leaseOver();
  t.equal((await collect(careful)).removed.manifest, 0, 'off by default');
  t.equal((await careful.call('GET', `/v2/a/manifests/${sha256DigestOf(kept)}`)).status, 200);
});

t.test('rules remove old tags, what only they held, and say why', async (t) => {
  const origin = await collecting(t, { keepLast: [{ pattern: 'ci/**', count: 2 }] });
  const layers = [1, 2, 3, 4].map((size) => randomBytes(size * 100));
  for (const [at, layer] of layers.entries()) {
    for (const name of ['ci/app', 'release']) {
      await putManifest(origin, name, `v${at}`, await imageOf(origin, name, [layer]));
    }
    await delay(2);
  }
  const dry = await collect(origin, '?dryRun=true');
  t.same(
    dry.items.map(({ kind, reason, repository, tag }) => [kind, reason, repository, tag]),
    [
      ['tag', 'keep-last', 'ci/app', 'v1'],
      ['tag', 'keep-last', 'ci/app', 'v0'],
    ],
  );
  t.equal((await collect(origin)).removed.tag, 2);
  leaseOver();
  const second = await collect(origin);
  t.equal(second.removed.manifest, 2);
  t.ok(second.items.some(({ kind, reason }) => kind === 'manifest' && reason === 'policy'));
  leaseOver();
  t.match((await collect(origin)).removed, { link: 2, blob: 0 }, 'the other repository holds the layers');
  const tags = async (name: string) =>
    ((await origin.call('GET', `/v2/${name}/tags/list`)).json() as { tags: string[] }).tags;
  t.same(await tags('ci/app'), ['v2', 'v3']);
  t.same(await tags('release'), ['v0', 'v1', 'v2', 'v3']);
});

t.test('a push of the digest whose removal is under way waits for it and is whole afterwards', async (t) => {
  const gate = { reached: Promise.withResolvers<void>(), open: Promise.withResolvers<void>() };
  const bytes = randomBytes(300_000);
  const digest = sha256DigestOf(bytes);
  let pauses = 0;
  const origin = await collecting(t, {
    async beforeRemoval(removed) {
      if (removed !== digest) return;
      pauses += 1;
      gate.reached.resolve();
      await gate.open.promise;
    },
  });
  await pushBlob(origin, 'a', bytes);
  leaseOver();
  const pass = collect(origin);
  await gate.reached.promise;

  t.equal((await origin.call('HEAD', `/v2/a/blobs/${digest}`)).status, 404, 'not offered any more');
  const pushed = pushBlob(origin, 'a', bytes);
  const elsewhere = pushBlob(origin, 'b', bytes);
  const mounted = origin.call('POST', `/v2/c/blobs/uploads/?mount=${digest}&from=a`);
  const other = pushBlob(origin, 'a', randomBytes(1000));
  t.ok(await other, 'another digest is not held up');
  let settled = false;
  void Promise.race([pushed, elsewhere, mounted]).then(() => {
    settled = true;
  });
  await delay(50);
  t.equal(settled, false, 'nobody is answered while the bytes go');
  gate.open.resolve();
  t.match((await pass).removed, { blob: 1 });
  t.same(await Promise.all([pushed, elsewhere]), [digest, digest]);
  t.ok([201, 202].includes((await mounted).status));
  for (const name of ['a', 'b']) {
    t.ok((await origin.call('GET', `/v2/${name}/blobs/${digest}`)).body.equals(bytes));
  }
  await until(async () => (await origin.call('GET', `/v2/a/_shoal/torrents/${digest}`)).status === 200);
  t.equal(pauses, 1);
});

t.test('a manifest that is pushed while its blob is being looked at keeps it', async (t) => {
  const origin = await collecting(t, { intervalMs: 1 });
  const layers = Array.from({ length: 5 }, (_, at) => randomBytes(100 + at));
  for (let round = 0; round < 10; round += 1) {
    const image = await imageOf(origin, `r${round}`, layers);
    // All leases end while the manifest is on its way: it comes in time, or hears what is missing.
    const answering = putManifest(origin, `r${round}`, 'v1', image);
    await delay(round);
    leaseOver();
    const answer = await answering;
    if (answer.status !== 201) {
      t.equal(answer.errorCode(), 'MANIFEST_BLOB_UNKNOWN');
      continue;
    }
    await delay(5);
    for (const layer of layers) {
      const got = await origin.call('GET', `/v2/r${round}/blobs/${sha256DigestOf(layer)}`);
      t.ok(got.body.equals(layer));
    }
  }
});

t.test('bytes that lost their last repository right before a crash go after the start', async (t) => {
  const digests: string[] = [];
  const origin = await collecting(t, {
    beforeRemoval: () => Promise.reject(new Error('the moment of the crash')),
  });
  digests.push(await pushBlob(origin, 'a', randomBytes(1000)));
  leaseOver();
  t.match(await collect(origin), { removed: { link: 1, blob: 0 }, failures: 1 });
  t.equal(await onDisk(origin, digests[0] ?? ''), true);
  await origin.origin.close();

  const again = await testOrigin(t, {
    data: origin.data,
    collection: { intervalMs: 5 },
  });
  await until(async () => !(await onDisk(again, digests[0] ?? '')));
  t.equal((await again.call('GET', `/v2/a/blobs/${parseDigest(digests[0] ?? '')}`)).status, 404);
});

t.test('the API refuses nonsense', async (t) => {
  const origin = await collecting(t);
  t.equal((await origin.call('POST', '/api/v1/gc?dryRun=perhaps')).status, 400);
});
