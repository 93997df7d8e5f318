import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import {
  createDraft,
  createDraftParser,
  createMetainfo,
  DRAFT_END,
  DRAFT_WAITING,
  type Draft,
  type DraftHeader,
  encodeDraftFailure,
  encodeDraftHashes,
  encodeDraftHeader,
  isDraftable,
  knownPieces,
  MetainfoError,
  parseMetainfo,
  pieceCount,
  pieceLengthFor,
} from '#torrent';

const MIB = 1024 ** 2;
const digest = sha256DigestOf(Buffer.from('a blob'));
const SOURCES = {
  announce: ['http://127.0.0.1:5000/announce', 'udp://127.0.0.1:6969/announce'],
  webSeeds: [],
  peers: [{ host: '127.0.0.1', port: 6881 }],
};

interface Read {
  header: DraftHeader | undefined;
  hashes: Buffer;
  ended: 'open' | 'end' | string;
}

/** What a parser makes of these bytes when they come in chunks of these lengths. */
function read(bytes: Uint8Array, lengths: readonly number[] = []): Read {
  const result: Read = { header: undefined, hashes: Buffer.alloc(0), ended: 'open' };
  const parser = createDraftParser({
    header: (header) => {
      result.header = header;
    },
    hashes: (hashes) => {
      result.hashes = Buffer.concat([result.hashes, hashes]);
    },
    end: () => {
      result.ended = 'end';
    },
    failed: (reason) => {
      result.ended = reason;
    },
  });
  let at = 0;
  for (const length of [...lengths, bytes.length]) {
    parser.push(bytes.subarray(at, at + length));
    at += length;
  }
  return result;
}

function wholeDraft(length: number): { draft: Draft; hashes: Buffer } {
  const growing = createDraft({ digest, length, sources: SOURCES });
  const hashes = randomBytes(20 * pieceCount(growing.draft));
  growing.add(hashes);
  return { draft: growing.draft, hashes };
}

t.test('the infohash of a draft follows from digest and length', async (t) => {
  const { draft } = createDraft({ digest, length: 3 * MIB });
  const dictionary = `d6:digest71:${digest}6:lengthi${3 * MIB}e12:piece lengthi262144e11:shoal drafti1ee`;
  t.equal(Buffer.from(draft.info).toString(), dictionary);
  t.equal(draft.infoHash, createHash('sha1').update(dictionary).digest('hex'));
  t.equal(createDraft({ digest, length: 3 * MIB, sources: SOURCES }).draft.infoHash, draft.infoHash);
  t.not(createDraft({ digest, length: 3 * MIB + 1 }).draft.infoHash, draft.infoHash);
  t.throws(() => parseMetainfo(Buffer.from(`d4:info${dictionary}e`)), MetainfoError);
  const keyed = createDraft({ digest, length: 3 * MIB, key: Buffer.from('a key') }).draft;
  t.equal(Buffer.from(keyed.info).toString(), dictionary.replace('6:length', '3:key5:a key6:length'));
  t.not(keyed.infoHash, draft.infoHash);
  const { header } = read(encodeDraftHeader(keyed, 0, SOURCES));
  t.equal(header && createDraft(header).draft.infoHash, keyed.infoHash);
});

t.test('hashes become known in order, and the whole is the real torrent', async (t) => {
  const length = 5 * 256 * 1024 - 7;
  const growing = createDraft({ digest, length, sources: SOURCES });
  const hashes = randomBytes(100);
  const heard: number[] = [];
  const stop = growing.draft.growth.onMore(() => heard.push(growing.draft.growth.known));
  t.equal(knownPieces(growing.draft), 0);
  growing.add(hashes.subarray(0, 20));
  t.equal(growing.whole(), undefined);
  growing.add(hashes.subarray(20, 80));
  stop();
  growing.add(hashes.subarray(80));
  t.same(heard, [1, 4]);
  t.equal(knownPieces(growing.draft), 5);
  const whole = growing.whole();
  t.equal(whole?.infoHash, createMetainfo({ digest, length, pieces: hashes }).infoHash);
  t.equal(whole && knownPieces(whole), 5);
  t.same(whole?.sources, SOURCES);
  t.throws(() => growing.add(new Uint8Array(20)), MetainfoError);
});

t.test('a blob of one piece, and one of more pieces than metainfo may have, has no draft', async (t) => {
  for (const length of [0, 1, 256 * 1024, 2 ** 52, -1, 0.5, Number.NaN]) {
    t.equal(isDraftable(length), false, `${length} bytes`);
    t.throws(() => createDraft({ digest, length }), MetainfoError);
  }
  t.ok(isDraftable(256 * 1024 + 1));
});

t.test('a stream comes back as it was written, however it is cut', async (t) => {
  const length = 40 * MIB;
  const { draft, hashes } = wholeDraft(length);
  const count = pieceCount(draft);
  fc.assert(
    fc.property(
      fc.nat({ max: count }),
      fc.array(fc.nat({ max: 700 }), { maxLength: 40 }),
      fc.array(fc.nat({ max: count }), { maxLength: 5 }),
      (from, cuts, steps) => {
        const stops = [from, ...steps.filter((step) => step > from).sort((a, b) => a - b), count];
        const parts: Uint8Array[] = [encodeDraftHeader(draft, from, SOURCES)];
        for (const [index, stop] of stops.entries()) {
          parts.push(DRAFT_WAITING, encodeDraftHashes(draft, stops[index - 1] ?? from, stop));
        }
        const back = read(Buffer.concat([...parts, DRAFT_END]), cuts);
        return (
          back.ended === 'end' &&
          back.header?.digest === digest &&
          back.header.length === length &&
          back.header.from === from &&
          back.hashes.equals(hashes.subarray(20 * from))
        );
      },
    ),
  );
  t.same(read(encodeDraftHeader(draft, 0, SOURCES)).header?.sources, SOURCES);
});

t.test('the largest draft fits its frames', async (t) => {
  const length = 419_430 * 4 * MIB - 1;
  const { draft, hashes } = wholeDraft(length);
  const back = read(
    Buffer.concat([
      encodeDraftHeader(draft, 0, SOURCES),
      encodeDraftHashes(draft, 0, pieceCount(draft)),
      DRAFT_END,
    ]),
  );
  t.ok(back.hashes.equals(hashes));
});

t.test('a failure says why', async (t) => {
  const { draft } = wholeDraft(MIB);
  const header = encodeDraftHeader(draft, 0, SOURCES);
  t.equal(
    read(Buffer.concat([header, encodeDraftFailure('the upstream is gone')])).ended,
    'the upstream is gone',
  );
  t.equal(read(Buffer.concat([header, encodeDraftFailure('x'.repeat(70_000))])).ended.length, 1_000);
});

t.test('what is not a draft is refused', async (t) => {
  const { draft } = wholeDraft(MIB);
  const count = pieceCount(draft);
  const header = encodeDraftHeader(draft, 0, SOURCES);
  const hashes = encodeDraftHashes(draft, 0, count);
  const frame = (letter: string, text: string): Buffer => {
    const payload = Buffer.from(text);
    return Buffer.concat([
      Buffer.from(letter),
      Buffer.from([payload.length >> 8, payload.length & 255]),
      payload,
    ]);
  };
  const dictionary = (change: Readonly<Record<string, string>>): Buffer => {
    const keys: Record<string, string> = {
      from: 'i0e',
      length: `i${MIB}e`,
      name: `64:${digest.slice(7)}`,
      'piece length': `i${pieceLengthFor(MIB)}e`,
      ...change,
    };
    const text = Object.entries(keys)
      .sort()
      .map(([key, value]) => `${key.length}:${key}${value}`);
    return frame('h', `d${text.join('')}e`);
  };
  t.equal(read(dictionary({})).header?.length, MIB);
  const refused: readonly [string, Uint8Array][] = [
    ['hashes before the header', hashes],
    ['an end before the header', DRAFT_END],
    ['two headers', Buffer.concat([header, header])],
    ['half a hash', Buffer.concat([header, frame('p', 'x'.repeat(30))])],
    ['no hash', Buffer.concat([header, frame('p', '')])],
    ['a hash too many', Buffer.concat([header, hashes, frame('p', 'x'.repeat(20))])],
    ['an end too early', Buffer.concat([header, DRAFT_END])],
    ['bytes after the end', Buffer.concat([header, hashes, DRAFT_END, Buffer.from('w')])],
    ['an unknown frame', Buffer.concat([header, frame('z', '')])],
    ['a header that is no dictionary', frame('h', 'i0e')],
    ['another piece length', dictionary({ 'piece length': 'i16384e' })],
    ['a size of one piece', dictionary({ length: 'i1000e' })],
    ['a size beyond all bounds', dictionary({ length: 'i4503599627370496e', 'piece length': 'i4194304e' })],
    ['a negative size', dictionary({ length: 'i-5e' })],
    ['a start behind the end', dictionary({ from: `i${count + 1}e` })],
    ['a key that is a number', dictionary({ key: 'i1e' })],
    ['a long key', dictionary({ key: `65:${'k'.repeat(65)}` })],
    ['a name that is no digest', dictionary({ name: '3:abc' })],
  ];
  for (const [what, bytes] of refused) t.throws(() => read(bytes), MetainfoError, what);
});

t.test('random bytes never do more than be refused', async () => {
  const { draft } = wholeDraft(MIB);
  const good = Buffer.concat([
    encodeDraftHeader(draft, 0, SOURCES),
    encodeDraftHashes(draft, 0, 4),
    DRAFT_END,
  ]);
  const letters = fc.constantFrom(...'hpwex').map((letter) => letter.charCodeAt(0));
  fc.assert(
    fc.property(
      fc.nat({ max: good.length - 1 }),
      letters,
      fc.uint8Array({ maxLength: 100 }),
      (at, letter, noise) => {
        for (const bytes of [
          Buffer.concat([good.subarray(0, at), Buffer.from([letter]), good.subarray(at + 1)]),
          Buffer.concat([good.subarray(0, at), noise]),
          Buffer.concat([Buffer.from([letter]), noise]),
        ]) {
          try {
            read(bytes);
          } catch (error) {
            if (!(error instanceof MetainfoError)) throw error;
          }
        }
      },
    ),
  );
});
