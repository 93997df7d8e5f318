/** Drafts at the origin: what is told as a blob comes, and until when. */
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { createHashing } from '#hashing';
import { sha256DigestOf } from '#oci';
import { createLogger } from '#telemetry';
import {
  createDraftParser,
  type DraftEvents,
  encodeDraftHeader,
  type InfoHash,
  pieceLengthFor,
} from '#torrent';
import { createDrafts, type OriginDraft } from '../../../origin/drafts.ts';
import { metainfoOf } from '../../support/metainfo.ts';
import { openTestStore } from '../../support/store.ts';

const LENGTH = 1_000_000;
const PIECE = pieceLengthFor(LENGTH);

/** A blob on its way, as far as the test lets it. */
function incomingOf(bytes: Buffer) {
  const listeners = new Set<() => void>();
  const finished = Promise.withResolvers<void>();
  finished.promise.catch(() => undefined);
  let available = 0;
  return {
    digest: sha256DigestOf(bytes),
    size: bytes.length,
    available: () => available,
    async read(position: number, into: Uint8Array) {
      bytes.copy(into, 0, position, position + into.length);
    },
    onGrowth(listener: () => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    finished: finished.promise,
    grow(to: number) {
      available = to;
      for (const listener of listeners) listener();
    },
    finish: finished.resolve,
    fail: finished.reject,
  };
}

async function setUp(t: Test, options: { readonly lingerMs?: number; readonly isBusy?: () => boolean } = {}) {
  const { blobs } = await openTestStore(t);
  const hashing = createHashing();
  t.teardown(() => hashing.close());
  const released: InfoHash[] = [];
  const drafts = createDrafts({
    blobs,
    hashing,
    keyOf: () => undefined,
    onChange: () => undefined,
    release: async (infoHash) => void released.push(infoHash),
    isBusy: () => false,
    log: createLogger({ program: 'test', level: 'silent' }),
    ...options,
  });
  t.teardown(() => drafts.close());
  return { blobs, drafts, released };
}

/** Follows a draft from `from` on. */
function follow(draft: OriginDraft, from = 0) {
  const left = new AbortController();
  const seen = { hashes: Buffer.alloc(0), outcome: 'open' };
  const events: DraftEvents = {
    header: () => undefined,
    hashes: (hashes) => {
      seen.hashes = Buffer.concat([seen.hashes, hashes]);
    },
    end: () => {
      seen.outcome = 'end';
    },
    failed: (reason) => {
      seen.outcome = reason;
    },
  };
  const parser = createDraftParser(events);
  parser.push(encodeDraftHeader(draft.draft, from, draft.draft.sources));
  const done = (async () => {
    for await (const frame of draft.frames(from, left.signal)) parser.push(frame);
  })();
  return { seen, done, leave: () => left.abort() };
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

t.test('the hash of a piece is told once its bytes are here, and the end once the blob is', async (t) => {
  const { blobs, drafts, released } = await setUp(t, { lingerMs: 20 });
  const bytes = randomBytes(LENGTH);
  const incoming = incomingOf(bytes);
  const draft = drafts.of(incoming);
  if (!draft) throw new Error('no draft');
  t.equal(drafts.of(incoming), draft);
  const { infoHash } = draft.draft;
  const [first, late] = [follow(draft), follow(draft, 2)];
  const hashes = metainfoOf(bytes).pieces;
  const store = drafts.seed(infoHash)?.store;
  const gained: number[] = [];
  const stop = store?.onPiece?.((piece) => gained.push(piece));
  incoming.grow(2 * PIECE - 1);
  await until(() => first.seen.hashes.length === 20);
  t.same([store?.has(0), store?.has(1)], [true, false]);
  incoming.grow(LENGTH);
  await until(() => first.seen.hashes.length === hashes.length);
  t.ok(first.seen.hashes.equals(hashes));
  t.same(gained, [0, 1, 2, 3]);
  stop?.();
  t.same(first.seen.outcome, 'open', 'the digest was not compared yet');
  t.ok(Buffer.from((await drafts.hashesOf(incoming.digest)) ?? []).equals(hashes));

  const writer = await blobs.createWriter();
  await writer.append(Readable.from([bytes]));
  await writer.commit(incoming.digest);
  const isLingering = () => drafts.lingering(incoming.digest) !== undefined;
  incoming.finish();
  await Promise.all([first.done, late.done]);
  t.same([first.seen.outcome, late.seen.outcome], ['end', 'end']);
  t.ok(late.seen.hashes.equals(hashes.subarray(40)));
  // Its members are still at it: it is read from the store.
  const into = Buffer.alloc(1000);
  await store?.read(PIECE - 500, into);
  t.ok(into.equals(bytes.subarray(PIECE - 500, PIECE + 500)));
  await until(() => !isLingering());
  t.same(released, [infoHash]);
  t.equal(drafts.seed(infoHash), undefined);
  t.equal(drafts.identify(infoHash), undefined);
});

t.test('a blob that does not come says why, and is forgotten', async (t) => {
  const { drafts, released } = await setUp(t);
  const incoming = incomingOf(randomBytes(LENGTH));
  const draft = drafts.of(incoming);
  if (!draft) throw new Error('no draft');
  const follower = follow(draft);
  incoming.grow(PIECE);
  await until(() => follower.seen.hashes.length === 20);
  t.same(drafts.identify(draft.draft.infoHash), { digest: incoming.digest, size: LENGTH });
  incoming.fail(new Error('the upstream is gone'));
  await follower.done;
  t.equal(follower.seen.outcome, 'the upstream is gone');
  await until(() => released.length === 1);
  t.equal(drafts.seed(draft.draft.infoHash), undefined);
  t.equal(await drafts.hashesOf(incoming.digest), undefined);
  const again = drafts.of(incomingOf(randomBytes(LENGTH)));
  t.not(again, draft);
});

t.test('a complete blob that is deleted takes its draft along; one that members are at stays', async (t) => {
  const { drafts } = await setUp(t, { lingerMs: 10, isBusy: () => true });
  const bytes = randomBytes(LENGTH);
  const incoming = incomingOf(bytes);
  const draft = drafts.of(incoming);
  incoming.grow(LENGTH);
  await drafts.forget(incoming.digest);
  t.equal(drafts.lingering(incoming.digest), draft, 'it is not complete');
  incoming.finish();
  if (draft) await follow(draft).done;
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(drafts.lingering(incoming.digest), draft);
  await drafts.forget(incoming.digest);
  t.equal(drafts.lingering(incoming.digest), undefined);
});

t.test('who leaves, and an origin that stops, end a stream without a last frame', async (t) => {
  const { drafts } = await setUp(t);
  const draft = drafts.of(incomingOf(randomBytes(LENGTH)));
  if (!draft) throw new Error('no draft');
  const [one, two] = [follow(draft), follow(draft)];
  one.leave();
  await one.done;
  t.equal(one.seen.outcome, 'open');
  drafts.cut();
  await two.done;
  t.equal(two.seen.outcome, 'open');
  t.equal(drafts.of(incomingOf(randomBytes(LENGTH))), undefined);
});

t.test('a blob of one piece has no draft', async (t) => {
  const { drafts } = await setUp(t);
  t.equal(drafts.of(incomingOf(randomBytes(1000))), undefined);
});
