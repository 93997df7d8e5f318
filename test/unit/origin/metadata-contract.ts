/** What every MetadataStore must do. An implementation's test calls this with a way to open it. */
import type { Test } from 'tap';
import {
  type Digest,
  parseRepositoryName,
  parseTag,
  type RepositoryName,
  sha256DigestOf,
  type Tag,
} from '#oci';
import type { MetadataStore, NewManifest } from '../../../origin/metadata/port.ts';

export interface Opened {
  readonly store: MetadataStore;
  /** Ends the process's hold on the database as a crash would allow, and opens it again. */
  reopen(): Promise<MetadataStore>;
}

const name = (text: string): RepositoryName => parseRepositoryName(text);
const tag = (text: string): Tag => parseTag(text);
const digestOf = (text: string): Digest => sha256DigestOf(Buffer.from(text));

function manifest(text: string, extra: Partial<NewManifest> = {}): NewManifest {
  const bytes = Buffer.from(text);
  return {
    digest: sha256DigestOf(bytes),
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    size: bytes.length,
    bytes,
    requires: { blobs: [], manifests: [] },
    tags: [],
    pushedAt: 1_700_000_000_000,
    ...extra,
  };
}

export function metadataContract(t: Test, open: (t: Test) => Promise<Opened>): void {
  t.test('a repository comes into being with its first content', async (t) => {
    const { store } = await open(t);
    t.equal(await store.hasRepository(name('a/b')), false);
    await store.linkBlob(name('a/b'), digestOf('x'));
    await store.putManifest(name('c'), manifest('m'));
    t.equal(await store.hasRepository(name('a/b')), true);
    t.equal(await store.hasRepository(name('a')), false);
    t.same((await store.repositories({ limit: 10 })).items, ['a/b', 'c']);
  });

  t.test('repositories are listed in order, a page at a time', async (t) => {
    const { store } = await open(t);
    for (const text of ['b', 'a/z', 'a', 'c/d', 'a-b']) await store.linkBlob(name(text), digestOf('x'));
    t.same(await store.repositories({ limit: 2 }), { items: ['a', 'a-b'], more: true });
    t.same(await store.repositories({ limit: 2, after: 'a-b' }), { items: ['a/z', 'b'], more: true });
    t.same(await store.repositories({ limit: 2, after: 'b' }), { items: ['c/d'], more: false });
    t.same(await store.repositories({ limit: 2, after: 'zz' }), { items: [], more: false });
  });

  t.test('a blob belongs to the repositories it was linked into', async (t) => {
    const { store } = await open(t);
    const digest = digestOf('blob');
    await store.linkBlob(name('a'), digest);
    await store.linkBlob(name('a/b'), digest);
    await store.linkBlob(name('a'), digest);
    t.equal(await store.hasBlob(name('a'), digest), true);
    t.equal(await store.hasBlob(name('b'), digest), false);
    t.same(await store.unlinkBlob(name('a'), digest), { linked: true, elsewhere: true });
    t.same(await store.unlinkBlob(name('a'), digest), { linked: false, elsewhere: true });
    t.same(await store.unlinkBlob(name('a/b'), digest), { linked: true, elsewhere: false });
    t.equal(await store.hasBlob(name('a/b'), digest), false);
  });

  t.test('a manifest is kept with its bytes, in its repository only', async (t) => {
    const { store } = await open(t);
    const { bytes, requires, tags, ...record } = manifest('{"m":1}');
    t.same(await store.putManifest(name('a'), { bytes, requires, tags, ...record }), []);
    t.match(await store.manifest(name('a'), record.digest), record);
    t.same(Buffer.from((await store.manifestBytes(name('a'), record.digest)) ?? []), bytes);
    t.equal(await store.manifest(name('b'), record.digest), undefined);
    t.equal(await store.manifestBytes(name('b'), record.digest), undefined);
  });

  t.test('a manifest without what it requires is not stored, and neither is its tag', async (t) => {
    const { store } = await open(t);
    const [here, away, other] = [digestOf('here'), digestOf('away'), digestOf('other')];
    await store.linkBlob(name('a'), here);
    await store.linkBlob(name('b'), away);
    const image = manifest('image', {
      requires: { blobs: [here, away], manifests: [other] },
      tags: [tag('v1')],
    });
    t.same([...(await store.putManifest(name('a'), image))].sort(), [away, other].sort());
    t.equal(await store.manifest(name('a'), image.digest), undefined);
    t.equal(await store.tag(name('a'), tag('v1')), undefined);
  });

  t.test('a tag moves with each push, and goes alone or with its manifest', async (t) => {
    const { store } = await open(t);
    const [one, two] = [manifest('1', { tags: [tag('latest')] }), manifest('2', { tags: [tag('latest')] })];
    await store.putManifest(name('a'), one);
    t.equal(await store.tag(name('a'), tag('latest')), one.digest);
    await store.putManifest(name('a'), two);
    t.equal(await store.tag(name('a'), tag('latest')), two.digest);
    await store.putManifest(name('a'), manifest('2', { tags: [tag('v2')] }));
    await store.putManifest(name('a'), manifest('1', { tags: [tag('v1')] }));
    await store.putManifest(name('b'), two);

    t.equal(await store.deleteManifest(name('a'), two.digest), true);
    t.equal(await store.deleteManifest(name('a'), two.digest), false);
    t.equal(await store.tag(name('a'), tag('latest')), undefined);
    t.equal(await store.tag(name('a'), tag('v2')), undefined);
    t.equal(await store.tag(name('b'), tag('latest')), two.digest, 'another repository keeps its own');

    t.equal(await store.deleteTag(name('a'), tag('v1')), one.digest);
    t.equal(await store.deleteTag(name('a'), tag('v1')), undefined);
    t.ok(await store.manifest(name('a'), one.digest), 'the manifest stays without a tag');
  });

  t.test('tags are listed by letters regardless of case, a page at a time', async (t) => {
    const { store } = await open(t);
    for (const text of ['b', 'B', 'a', 'C', '1.0', '_x']) {
      await store.putManifest(name('a'), manifest('m', { tags: [tag(text)] }));
    }
    await store.putManifest(name('a/a'), manifest('m', { tags: [tag('zz')] }));
    t.same(await store.tags(name('a'), { limit: 10 }), {
      items: ['1.0', '_x', 'a', 'B', 'b', 'C'],
      more: false,
    });
    t.same(await store.tags(name('a'), { limit: 2, after: 'a' }), { items: ['B', 'b'], more: true });
    t.same(await store.tags(name('a'), { limit: 2, after: 'b' }), { items: ['C'], more: false });
    t.same(await store.tags(name('a'), { limit: 9, after: 'Ab' }), { items: ['B', 'b', 'C'], more: false });
    t.same(await store.tags(name('none'), { limit: 10 }), { items: [], more: false });
  });

  t.test('referrers are found by their subject, filtered and a page at a time', async (t) => {
    const { store } = await open(t);
    const subject = digestOf('subject');
    const put = async (text: string, artifactType: string) => {
      const referrer = manifest(text, { subject, artifactType, annotations: { text } });
      await store.putManifest(name('a'), referrer);
      return referrer.digest;
    };
    const digests = [
      await put('1', 'x/sbom'),
      await put('2', 'x/signature'),
      await put('3', 'x/sbom'),
    ].sort();
    const list = async (options: { limit: number; after?: string; artifactType?: string }) => {
      const page = await store.referrers(name('a'), subject, options);
      return { digests: page.items.map((item) => item.digest), more: page.more };
    };
    t.same(await list({ limit: 10 }), { digests, more: false });
    t.same(await list({ limit: 1 }), { digests: digests.slice(0, 1), more: true });
    t.same(await list({ limit: 5, after: digests[0] ?? '' }), { digests: digests.slice(1), more: false });
    const filtered = await store.referrers(name('a'), subject, { limit: 2, artifactType: 'x/sbom' });
    t.same([...filtered.items.map((item) => item.annotations?.['text'])].sort(), ['1', '3']);
    t.equal(filtered.more, false);
    const short = await store.referrers(name('a'), subject, { limit: 9, maxBytes: 1 });
    t.same([short.items.length, short.more], [1, true], 'one at least, however large it is');
    t.same((await store.referrers(name('b'), subject, { limit: 9 })).items, []);
    for (const digest of digests) await store.deleteManifest(name('a'), digest);
    t.same((await store.referrers(name('a'), subject, { limit: 9 })).items, []);
  });

  t.test('an upload is known until it ends', async (t) => {
    const { store } = await open(t);
    const upload = { id: 'one', name: name('a'), startedAt: 5 };
    await store.beginUpload(upload);
    await store.beginUpload({ ...upload, id: 'two' });
    t.same(await store.upload('one'), upload);
    const known: string[] = [];
    for await (const { id } of store.uploads()) known.push(id);
    t.same(known.sort(), ['one', 'two']);
    await store.endUpload('one');
    await store.endUpload('one');
    t.equal(await store.upload('one'), undefined);
  });

  t.test('all of it is there after a restart', async (t) => {
    const { store, reopen } = await open(t);
    const image = manifest('image', {
      requires: { blobs: [digestOf('layer')], manifests: [] },
      tags: [tag('v1')],
    });
    await store.linkBlob(name('a/b'), digestOf('layer'));
    await store.putManifest(name('a/b'), image);
    await store.beginUpload({ id: 'one', name: name('a/b'), startedAt: 5 });
    const again = await reopen();
    t.equal(await again.tag(name('a/b'), tag('v1')), image.digest);
    t.same(Buffer.from((await again.manifestBytes(name('a/b'), image.digest)) ?? []), image.bytes);
    t.equal(await again.hasBlob(name('a/b'), digestOf('layer')), true);
    t.equal((await again.upload('one'))?.name, 'a/b');
  });

  t.test('of calls at the same time none undoes another', async (t) => {
    const { store } = await open(t);
    const image = manifest('image');
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        store.putManifest(name('a'), { ...image, tags: [tag(`t${index}`)] }),
      ),
    );
    t.equal((await store.tags(name('a'), { limit: 100 })).items.length, 50);
    const late = store.putManifest(name('a'), { ...image, tags: [tag('late')] });
    await Promise.all([late, store.deleteManifest(name('a'), image.digest)]);
    for (const left of (await store.tags(name('a'), { limit: 100 })).items) {
      const target = await store.tag(name('a'), left);
      t.ok(target && (await store.manifest(name('a'), target)), `${left} points at a manifest`);
    }
  });
}
