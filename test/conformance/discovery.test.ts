/** Content discovery (distribution-spec, "Content Discovery"): end-8a, end-8b, end-12a, end-12b and extensions. */
import t from 'tap';
import { digestOf } from '#oci';
import { INDEX, MANIFEST, testOrigin } from '../support/origin.ts';
import { ALGORITHMS, ask, putAt, someContent, someImage } from './support.ts';

t.test('end-8: tags, whole and in pages', async (t) => {
  const origin = await testOrigin(t);
  t.equal((await ask(origin, 'GET', '/v2/a/tags/list')).status, 404);
  const { bytes, digest } = await someImage(origin, 'a', 'sha256');
  await putAt(origin, `/v2/a/manifests/${digest}?tag=b&tag=d&tag=a&tag=c`, bytes);
  const list = async (query: string) => {
    const answer = await ask(origin, 'GET', `/v2/a/tags/list${query}`);
    t.equal(answer.status, 200);
    return { ...(answer.json() as { tags: string[] }), link: answer.headers['link'] };
  };
  t.match(await list(''), { tags: ['a', 'b', 'c', 'd'], link: undefined });
  t.same((await list('?n=0')).tags, []);
  t.same((await list('?last=b')).tags, ['c', 'd']);
  t.same((await list('?n=1&last=a')).tags, ['b']);
  t.same((await list('?last=bb')).tags, ['c', 'd'], 'last need not exist');
  const first = await list('?n=3');
  t.same(first.tags, ['a', 'b', 'c']);
  const next = /^<([^>]+)>; rel="next"$/.exec(first.link ?? '')?.[1] ?? '';
  const second = await ask(origin, 'GET', next);
  t.same([second.json(), second.headers['link']], [{ name: 'a', tags: ['d'] }, undefined]);
});

for (const algorithm of ALGORITHMS) {
  t.test(`end-12: referrers of a subject by ${algorithm}`, async (t) => {
    const origin = await testOrigin(t);
    const nobody = await ask(origin, 'GET', `/v2/nobody/referrers/${someContent(algorithm).digest}`);
    t.same([nobody.status, nobody.headers['content-type']], [200, INDEX]);
    t.same(nobody.json(), { schemaVersion: 2, mediaType: INDEX, manifests: [] });

    const image = await someImage(origin, 'a', algorithm);
    const subject = { mediaType: MANIFEST, digest: image.digest, size: image.bytes.length };
    const sbom = await someImage(origin, 'a', algorithm, {
      subject,
      artifactType: 'application/vnd.example.sbom',
      annotations: { 'org.example.of': 'an image' },
    });
    const plain = await someImage(origin, 'a', algorithm, { subject });
    const indexBytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: INDEX,
        manifests: [],
        subject,
        artifactType: 'application/vnd.example.index',
      }),
    );
    const index = { bytes: indexBytes, digest: digestOf(algorithm, indexBytes) };
    for (const [referrer, type] of [
      [sbom, MANIFEST],
      [plain, MANIFEST],
      [index, INDEX],
    ] as const) {
      const put = await putAt(origin, `/v2/a/manifests/${referrer.digest}`, referrer.bytes, type);
      t.same([put.status, put.headers['oci-subject']], [201, subject.digest], 'the subject may come later');
    }
    const list = async (query = '') => {
      const answer = await ask(origin, 'GET', `/v2/a/referrers/${subject.digest}${query}`);
      t.same([answer.status, answer.headers['content-type']], [200, INDEX]);
      const { manifests } = answer.json() as { manifests: { digest: string; artifactType?: string }[] };
      return { manifests, filters: answer.headers['oci-filters-applied'], link: answer.headers['link'] };
    };
    const all = await list();
    t.same(
      all.manifests.map(({ digest, artifactType }) => [digest, artifactType]).sort(),
      [
        [sbom.digest, 'application/vnd.example.sbom'],
        [plain.digest, 'application/vnd.oci.empty.v1+json'],
        [index.digest, 'application/vnd.example.index'],
      ].sort(),
    );
    t.equal(all.filters, undefined);
    const filtered = await list('?artifactType=application/vnd.example.sbom');
    t.same(filtered.manifests, [
      {
        mediaType: MANIFEST,
        digest: sbom.digest,
        size: sbom.bytes.length,
        artifactType: 'application/vnd.example.sbom',
        annotations: { 'org.example.of': 'an image' },
      },
    ]);
    t.equal(filtered.filters, 'artifactType');
    t.same((await list('?artifactType=application/vnd.example.none')).manifests, []);

    await putAt(origin, `/v2/a/manifests/${image.digest}`, image.bytes);
    t.equal((await ask(origin, 'DELETE', `/v2/a/manifests/${sbom.digest}`)).status, 202);
    t.equal((await list()).manifests.length, 2, 'a deleted referrer is no longer listed');
    const bad = await ask(origin, 'GET', '/v2/a/referrers/sha256:short');
    t.same([bad.status, bad.errorCode()], [400, 'DIGEST_INVALID']);
  });
}

t.test('end-12: pages of referrers, none larger than a manifest may be', async (t) => {
  const origin = await testOrigin(t);
  const image = await someImage(origin, 'a', 'sha256');
  const subject = { mediaType: MANIFEST, digest: image.digest, size: image.bytes.length };
  const wanted: string[] = [];
  for (let at = 0; at < 5; at += 1) {
    const artifactType = at === 4 ? 'application/vnd.example.other' : 'application/vnd.example.large';
    const annotations = { large: String(at).repeat(1_500_000) };
    const { bytes, digest } = await someImage(origin, 'a', 'sha256', { subject, artifactType, annotations });
    t.equal((await putAt(origin, `/v2/a/manifests/${digest}`, bytes)).status, 201);
    if (at < 4) wanted.push(digest);
  }
  const walk = async (query: string): Promise<{ digests: string[]; pages: number }> => {
    const digests: string[] = [];
    let pages = 0;
    let next: string | undefined = `/v2/a/referrers/${image.digest}?${query}`;
    while (next !== undefined) {
      const answer = await ask(origin, 'GET', next);
      pages += 1;
      t.ok(answer.body.length <= 4 * 1024 * 1024, `page ${pages} has ${answer.body.length} bytes`);
      t.equal(answer.headers['oci-filters-applied'], 'artifactType', 'on each page');
      digests.push(
        ...(answer.json() as { manifests: { digest: string }[] }).manifests.map((it) => it.digest),
      );
      next = /^<([^>]+)>; rel="next"$/.exec(answer.headers['link'] ?? '')?.[1];
    }
    return { digests, pages };
  };
  const filter = 'artifactType=application/vnd.example.large';
  t.same(await walk(filter), { digests: [...wanted].sort(), pages: 2 });
  t.same(await walk(`${filter}&n=1`), { digests: [...wanted].sort(), pages: 4 });
});

t.test('the referrers tag schema of older clients is an ordinary tag', async (t) => {
  const origin = await testOrigin(t);
  const { digest } = await someImage(origin, 'a', 'sha256');
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [] }));
  const tag = digest.replace(':', '-');
  t.equal((await putAt(origin, `/v2/a/manifests/${tag}`, bytes, INDEX)).status, 201);
  const got = await ask(origin, 'GET', `/v2/a/manifests/${tag}`);
  t.same([got.status, got.headers['content-type']], [200, INDEX]);
  t.ok(got.body.equals(bytes));
});

t.test('extensions/_oci: discover', async (t) => {
  const origin = await testOrigin(t);
  const everywhere = await ask(origin, 'GET', '/v2/_oci/ext/discover');
  t.equal(everywhere.status, 200);
  t.match(everywhere.json(), {
    extensions: [{ name: '_shoal', url: String, endpoints: ['/v2/<name>/_shoal/torrents/<digest>', String] }],
  });
  const { blobs } = await someImage(origin, 'a/b', 'sha512');
  const answer = await ask(origin, 'GET', '/v2/a/b/_oci/ext/discover');
  t.equal(answer.status, 200);
  const { extensions } = answer.json() as { extensions: { name: string; endpoints: string[] }[] };
  t.same(
    extensions.map(({ name }) => name),
    ['_shoal'],
  );
  for (const { digest } of blobs) {
    const where = extensions[0]?.endpoints[0]?.replace('<digest>', digest) ?? '';
    const torrent = await ask(origin, 'GET', where);
    t.same([torrent.status, torrent.headers['content-type']], [200, 'application/x-bittorrent']);
    t.ok(torrent.body.includes(`4:name128:${digest.slice(7)}`), 'named by the hex digits');
  }
});
