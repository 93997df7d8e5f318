/** What every MetadataStore must do for garbage collection; the clock is the test's own. */
import type { Test } from 'tap';
import {
  type Digest,
  parseRepositoryName,
  parseTag,
  type RepositoryName,
  sha256DigestOf,
  type Tag,
} from '#oci';
import type { Lease, LeaseQueue } from '../../../origin/metadata/collection-port.ts';
import type { MetadataStore, NewManifest } from '../../../origin/metadata/port.ts';

export interface OpenedWithClock {
  /** Leases last a thousand milliseconds of `clock` at least. */
  readonly store: MetadataStore;
  readonly clock: { now: number };
  reopen(): Promise<MetadataStore>;
}

const LEASE = 1_000;
const name = (text: string): RepositoryName => parseRepositoryName(text);
const tag = (text: string): Tag => parseTag(text);
const digestOf = (text: string): Digest => sha256DigestOf(Buffer.from(text));
const [a, b] = [name('a'), name('b')];

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

export function collectionContract(t: Test, open: (t: Test) => Promise<OpenedWithClock>): void {
  const due = async (store: MetadataStore, queue: LeaseQueue, before: number): Promise<Digest[]> =>
    (await store.collection.leases(queue, before, 100)).map((lease) => lease.digest);
  const wet = (before: number) => ({ before, dryRun: false });

  t.test('a pushed blob is due when its lease is over, and goes when nothing refers to it', async (t) => {
    const { store, clock } = await open(t);
    const layer = digestOf('layer');
    await store.linkBlob(a, layer);
    t.same(await due(store, 'blob', clock.now), [], 'a lease that began now is not over');
    const before = clock.now + 1;
    t.same(await due(store, 'blob', before), [layer]);
    const dry = await store.collection.collectBlob(a, layer, { before, dryRun: true });
    t.same(dry, { removed: true, last: true });
    t.equal(await store.hasBlob(a, layer), true, 'a dry run takes nothing');
    t.same(await store.collection.collectBlob(a, layer, wet(before)), { removed: true, last: true });
    t.equal(await store.hasBlob(a, layer), false);
    t.same(await store.collection.orphans(10), [layer]);
    t.same(await due(store, 'blob', before), []);
    await store.linkBlob(b, layer);
    t.same(await store.collection.orphans(10), [], 'held again');
    t.equal(await store.collection.isHeld(layer), true);
  });

  t.test('only the last repository that lets go leaves an orphan', async (t) => {
    const { store, clock } = await open(t);
    const layer = digestOf('layer');
    await store.linkBlob(a, layer);
    await store.linkBlob(b, layer);
    const before = clock.now + 1;
    t.same(await store.collection.collectBlob(a, layer, wet(before)), { removed: true, last: false });
    t.same(await store.collection.orphans(10), []);
    t.same(await store.unlinkBlob(b, layer), { linked: true, elsewhere: false });
    t.same(await store.collection.orphans(10), [layer]);
    await store.collection.forgetOrphan(layer);
    t.same(await store.collection.orphans(10), []);
    await store.collection.expectBlob(layer);
    t.same(await store.collection.orphans(10), [layer], 'bytes that are about to come');
  });

  t.test('a manifest protects what it refers to, and hands it a lease when it goes', async (t) => {
    const { store, clock } = await open(t);
    const [shared, own] = [digestOf('shared'), digestOf('own')];
    for (const digest of [shared, own]) await store.linkBlob(a, digest);
    const one = manifest('1', { requires: { blobs: [shared, own], manifests: [] }, tags: [tag('one')] });
    const two = manifest('2', { requires: { blobs: [shared], manifests: [] }, tags: [tag('two')] });
    for (const image of [one, two]) await store.putManifest(a, image);
    const before = clock.now + 1;
    for (const digest of [shared, own]) {
      t.same(await store.collection.collectBlob(a, digest, wet(before)), { removed: false, last: false });
    }
    t.same(await due(store, 'blob', before), [], 'nothing is looked at again until a reference goes');
    clock.now += 10 * LEASE;
    await store.deleteManifest(a, one.digest);
    t.same(await due(store, 'blob', clock.now + 1), [own], 'the other one is still referred to');
    t.same(await store.collection.collectBlob(a, own, wet(clock.now - 1)), { removed: false, last: false });
    await store.deleteManifest(a, two.digest);
    const after = clock.now + 1;
    t.same((await due(store, 'blob', after)).sort(), [shared, own].sort());
    t.same(await store.collection.collectBlob(a, own, wet(after)), { removed: true, last: true });
  });

  t.test('who was told that a blob is here finds it for a lease', async (t) => {
    const { store, clock } = await open(t);
    const layer = digestOf('layer');
    t.equal(await store.relyOnBlob(a, layer), false);
    await store.linkBlob(a, layer);
    clock.now += 2 * LEASE - 1;
    t.equal(await store.relyOnBlob(a, layer), true);
    clock.now += LEASE;
    const before = clock.now - 2 * LEASE;
    t.same(await store.collection.collectBlob(a, layer, wet(before)), { removed: false, last: false });
    t.equal(await store.hasBlob(a, layer), true);
    clock.now += LEASE + 2;
    const late = wet(clock.now - 2 * LEASE);
    t.same(await store.collection.collectBlob(a, layer, late), { removed: true, last: true });
    t.equal(await store.relyOnBlob(a, layer), false);
  });

  t.test('an answer that a reference made safe is kept when the reference goes', async (t) => {
    const { store, clock } = await open(t);
    const layer = digestOf('layer');
    await store.linkBlob(a, layer);
    const image = manifest('1', { requires: { blobs: [layer], manifests: [] } });
    await store.putManifest(a, image);
    clock.now += 5 * LEASE;
    t.equal(await store.relyOnBlob(a, layer), true);
    t.same(await due(store, 'blob', clock.now - 2 * LEASE), [layer], 'no lease was written for it');
    await store.deleteManifest(a, image.digest);
    clock.now += LEASE;
    const before = clock.now - 2 * LEASE;
    t.same(await store.collection.collectBlob(a, layer, wet(before)), { removed: false, last: false });
  });

  t.test('a manifest goes when neither tag, index nor subject holds it', async (t) => {
    const { store, clock } = await open(t);
    const child = manifest('child');
    const index = manifest('index', {
      requires: { blobs: [], manifests: [child.digest] },
      tags: [tag('v1')],
    });
    const signature = manifest('signature', { subject: index.digest });
    for (const each of [child, index, signature]) await store.putManifest(a, each);
    const collect = (digest: Digest) => store.collection.collectManifest(a, digest, wet(clock.now + 1));
    t.same(
      (await due(store, 'manifest', clock.now + 1)).sort(),
      [child.digest, signature.digest].sort(),
      'what was pushed without a tag is looked at',
    );
    for (const { digest } of [child, index, signature]) t.equal(await collect(digest), undefined);
    t.same(await due(store, 'manifest', clock.now + 1), [], 'all of it is held');
    clock.now += 10 * LEASE;
    await store.deleteTag(a, tag('v1'));
    t.same(await due(store, 'manifest', clock.now + 1), [index.digest]);
    const early = await store.collection.collectManifest(a, index.digest, wet(clock.now));
    t.equal(early, undefined, 'not before its lease is over');
    t.equal(await collect(index.digest), index.size);
    t.equal(await store.manifest(a, index.digest), undefined);
    t.same(
      (await due(store, 'doomed', clock.now + 1)).sort(),
      [child.digest, signature.digest].sort(),
      'what only it held follows',
    );
    for (const { digest } of [child, signature]) t.ok(await collect(digest));
    t.same((await store.referrers(a, index.digest, { limit: 9 })).items, []);
  });

  t.test('a manifest that was pushed again, tagged or asked for is not removed', async (t) => {
    const { store, clock } = await open(t);
    const image = manifest('1');
    await store.putManifest(a, image);
    clock.now += 2 * LEASE - 1;
    t.equal(await store.relyOnManifest(a, image.digest), true);
    clock.now += LEASE;
    const leased = await store.collection.collectManifest(a, image.digest, wet(clock.now - 2 * LEASE));
    t.equal(leased, undefined, 'asked for');
    clock.now += 5 * LEASE;
    await store.putManifest(a, { ...image, tags: [tag('v1')] });
    t.equal(await store.collection.collectManifest(a, image.digest, wet(clock.now + 1)), undefined, 'tagged');
    t.ok(await store.manifest(a, image.digest));
    await store.putManifest(a, manifest('2', { tags: [tag('v1')] }));
    t.same(await due(store, 'manifest', clock.now + 1), [image.digest], 'its tag moved away');
  });

  t.test('tags are judged again in the turn of their repository', async (t) => {
    const { store, clock } = await open(t);
    for (const [at, text] of ['old', 'new'].entries()) {
      clock.now += at;
      await store.putManifest(a, manifest(text, { tags: [tag(text), tag(`${text}-too`)] }));
    }
    const judge = (tags: readonly { tag: Tag }[]) => tags.filter((each) => each.tag === 'old') as never;
    t.equal((await store.collection.collectTags(a, judge, { dryRun: true })).length, 1);
    t.ok(await store.tag(a, tag('old')));
    const [gone] = await store.collection.collectTags(a, judge, { dryRun: false });
    t.match(gone, { tag: 'old', digest: digestOf('old') });
    t.equal(await store.tag(a, tag('old')), undefined);
    t.same(await due(store, 'doomed', clock.now + 1), [], 'it has another tag');
    const other = (tags: readonly { tag: Tag }[]) => tags.filter((each) => each.tag === 'old-too') as never;
    await store.collection.collectTags(a, other, { dryRun: false });
    t.same(await due(store, 'doomed', clock.now + 1), [digestOf('old')]);
    t.ok(await store.collection.collectManifest(a, digestOf('old'), wet(clock.now + 1)));
    t.ok(await store.tag(a, tag('new')));
  });

  t.test('leases are listed oldest first, a page at a time, also after a restart', async (t) => {
    const { store, clock, reopen } = await open(t);
    const digests = ['x', 'y', 'z'].map(digestOf);
    for (const digest of digests) {
      clock.now += 1;
      await store.linkBlob(a, digest);
    }
    await store.linkBlob(a, digests[0] as Digest);
    const again = await reopen();
    const seen: Digest[] = [];
    let after: Lease | undefined;
    for (;;) {
      const [lease] = await again.collection.leases('blob', clock.now + 1, 1, after);
      if (lease === undefined) break;
      seen.push(lease.digest);
      after = lease;
    }
    const [x, y, z] = digests;
    t.same([...seen].sort(), [...digests].sort(), 'each once, however often it was begun anew');
    t.equal(seen[0], y);
    t.ok(x && z);
  });

  t.test('a partial manifest lacks what may come, and holds it when it comes', async (t) => {
    const { store, clock } = await open(t);
    const layer = digestOf('layer');
    const requires = { blobs: [layer], manifests: [digestOf('other platform')] };
    const image = manifest('image', { requires, tags: [tag('v1')] });
    t.same(await store.putManifest(a, image), [layer, digestOf('other platform')], 'a pushed one needs them');
    t.same(await store.putManifest(a, { ...image, partial: true }), []);
    t.match(await store.manifest(a, image.digest), { partial: true });
    await store.linkBlob(a, layer);
    clock.now += 10 * LEASE;
    t.same(await store.collection.collectBlob(a, layer, wet(clock.now)), { removed: false, last: false });
    const problems = [];
    for await (const problem of store.audit.problems(() => undefined)) problems.push(problem);
    t.same(problems, []);
  });

  t.test('a confirmed tag points where it is confirmed, and is as young as that', async (t) => {
    const { store, clock, reopen } = await open(t);
    const [one, other] = [manifest('one', { tags: [tag('v1')] }), manifest('other')];
    for (const each of [one, other]) await store.putManifest(a, each);
    t.equal(await store.confirmTag(a, tag('v1'), digestOf('missing')), false);
    t.equal(await store.confirmTag(b, tag('v1'), one.digest), false);
    clock.now += 3_600_000;
    t.same(await store.tagAge(a, tag('v1')), { digest: one.digest, ageMs: 3_600_000 });
    t.equal(await store.confirmTag(a, tag('v1'), one.digest), true);
    t.same(await store.tagAge(a, tag('v1')), { digest: one.digest, ageMs: 0 });
    clock.now += 10;
    t.equal(await store.confirmTag(a, tag('v1'), one.digest), true, 'written again only after a while');
    t.same(await store.tagAge(a, tag('v1')), { digest: one.digest, ageMs: 10 });
    t.equal(await store.confirmTag(a, tag('v1'), other.digest), true);
    t.equal(await store.tag(a, tag('v1')), other.digest);
    clock.now += 10 * LEASE;
    t.ok((await due(store, 'manifest', clock.now)).includes(one.digest), 'the one before has a lease');
    t.equal(await store.tagAge(a, tag('v2')), undefined);
    t.equal((await (await reopen()).tagAge(a, tag('v1')))?.digest, other.digest);
  });
}
