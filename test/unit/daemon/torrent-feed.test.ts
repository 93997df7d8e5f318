import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import t from 'tap';
import { type Digest, OciError, sha256DigestOf } from '#oci';
import { createLogger } from '#telemetry';
import {
  createDraft,
  createMetainfo,
  DRAFT_END,
  DRAFT_WAITING,
  encodeDraftFailure,
  encodeDraftHashes,
  encodeDraftHeader,
  knownPieces,
  type Metainfo,
  MetainfoError,
} from '#torrent';
import { type DraftStream, openDraftStream } from '../../../daemon/draft-stream.ts';
import { feedOf, followDraft, type Resume, type TorrentFeed } from '../../../daemon/torrent-feed.ts';

const log = createLogger({ program: 'test', level: 'silent' });
const LENGTH = 10 * 256 * 1024;
const digest: Digest = sha256DigestOf(Buffer.from('blob'));
const hashes = randomBytes(200);
const sources = { announce: [], webSeeds: [], peers: [] };
const whole = createMetainfo({ digest, length: LENGTH, pieces: hashes });

function origin() {
  const growing = createDraft({ digest, length: LENGTH });
  growing.add(hashes);
  const { draft } = growing;
  return {
    header: (from: number) => encodeDraftHeader(draft, from, sources),
    hashes: (from: number, to: number) => encodeDraftHashes(draft, from, to),
  };
}

/** A stream of which this much was sent, and what sends more. */
async function opened(
  from: number,
  ...parts: readonly Uint8Array[]
): Promise<{ stream: DraftStream; body: PassThrough }> {
  const body = new PassThrough();
  for (const part of [origin().header(from), ...parts]) body.write(part);
  return { stream: await openDraftStream(body), body };
}

async function known(feed: TorrentFeed, pieces: number): Promise<void> {
  if (feed.torrent.growth === undefined) throw new Error('not a draft');
  while (knownPieces(feed.torrent) < pieces) await new Promise((resolve) => setTimeout(resolve, 5));
}

const never: Resume = () => Promise.reject(new OciError('UNAVAILABLE', 'nobody asks again here'));

t.test('hashes are taken as they come, and the whole is told once', async (t) => {
  const { stream, body } = await opened(0, origin().hashes(0, 3));
  const told: Metainfo[] = [];
  const feed = followDraft({ first: stream, resume: never, onWhole: (it) => void told.push(it), log });
  await known(feed, 3);
  t.equal(feed.whole(), undefined);
  body.write(DRAFT_WAITING);
  body.write(origin().hashes(3, 10));
  await known(feed, 10);
  t.equal(feed.whole()?.infoHash, whole.infoHash);
  body.write(DRAFT_END);
  await new Promise((resolve) => body.once('close', resolve));
  t.equal(told.length, 1);
  t.equal(told[0]?.infoHash, whole.infoHash);
  feed.close();
});

t.test('a cut stream is taken up where it stopped', async (t) => {
  const { stream, body } = await opened(0, origin().hashes(0, 4), origin().hashes(4, 6).subarray(0, 30));
  const asked: number[] = [];
  const resume: Resume = async (from) => {
    asked.push(from);
    if (asked.length === 1) throw new OciError('UNAVAILABLE', 'the origin restarts');
    return (await opened(from, origin().hashes(from, 10), DRAFT_END)).stream;
  };
  const feed = followDraft({ first: stream, resume, onWhole: () => undefined, log });
  await known(feed, 4);
  body.destroy();
  await known(feed, 10);
  t.same(asked, [4, 4]);
  t.equal(feed.whole()?.infoHash, whole.infoHash);
  feed.close();
});

t.test('the blob may be complete at the origin when the stream is taken up', async (t) => {
  const { stream, body } = await opened(0, origin().hashes(0, 4));
  const feed = followDraft({ first: stream, resume: async () => whole, onWhole: () => undefined, log });
  await known(feed, 4);
  body.end();
  await known(feed, 10);
  t.equal(feed.whole()?.infoHash, whole.infoHash);
  feed.close();
});

t.test('metainfo that contradicts what was told ends it', async (t) => {
  const { stream, body } = await opened(0, origin().hashes(0, 4));
  const other = createMetainfo({ digest, length: LENGTH, pieces: randomBytes(200) });
  const feed = followDraft({ first: stream, resume: async () => other, onWhole: () => undefined, log });
  await known(feed, 4);
  body.end();
  await t.rejects(feed.failed, { code: 'UNAVAILABLE', message: /another blob/ });
  t.equal(knownPieces(feed.torrent), 4);
});

t.test('what the origin says itself is not asked again', async (t) => {
  const { stream } = await opened(0, origin().hashes(0, 2), encodeDraftFailure('the upstream is gone'));
  const resume: Resume = () => {
    t.fail('asked again');
    return Promise.resolve(whole);
  };
  const feed = followDraft({ first: stream, resume, onWhole: () => t.fail('not whole'), log });
  await t.rejects(feed.failed, { code: 'UNAVAILABLE', message: /the upstream is gone/ });
});

t.test('a blob that is unknown by now ends it, too', async (t) => {
  const { stream, body } = await opened(0);
  body.end();
  const resume: Resume = () => Promise.reject(new OciError('BLOB_UNKNOWN'));
  const feed = followDraft({ first: stream, resume, onWhole: () => undefined, log });
  await t.rejects(feed.failed, { code: 'BLOB_UNKNOWN' });
});

t.test('a feed that nobody needs any more closes its stream and fails nobody', async (t) => {
  const { stream, body } = await opened(0, origin().hashes(0, 2));
  const feed = followDraft({ first: stream, resume: never, onWhole: () => undefined, log });
  feed.failed.catch(() => t.fail('it failed'));
  await known(feed, 2);
  feed.close();
  if (!body.destroyed) await new Promise((resolve) => body.once('close', resolve));
  t.ok(body.destroyed);
});

t.test('a stream without a header, or with another form, is refused', async (t) => {
  const cut = new PassThrough();
  cut.end(origin().header(0).subarray(0, 20));
  await t.rejects(openDraftStream(cut), /cut/);
  const other = new PassThrough();
  other.write('<html>');
  await t.rejects(openDraftStream(other), MetainfoError);
  t.ok(other.destroyed);
});

t.test('metainfo is a feed that is whole', async (t) => {
  const feed = feedOf(whole);
  t.equal(feed.torrent, whole);
  t.equal(feed.whole(), whole);
  feed.close();
});
