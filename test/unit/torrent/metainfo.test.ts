import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { type Bencoded, BencodeError, decodeBencode, type Encodable, encodeBencode } from '#bencode';
import { sha256DigestOf } from '#oci';
import {
  createMetainfo,
  encodeMetainfo,
  type Metainfo,
  MetainfoError,
  parseMetainfo,
  pieceCount,
  pieceLengthFor,
  pieceSize,
} from '#torrent';

const MIB = 1024 ** 2;

function sample(length: number): Metainfo {
  const pieces = randomBytes(20 * Math.ceil(length / pieceLengthFor(length)));
  const sources = {
    announce: ['http://127.0.0.1:5000/announce', 'udp://127.0.0.1:6969/announce'],
    webSeeds: ['http://127.0.0.1:5000/v2/a/blobs/x'],
    peers: [
      { host: '127.0.0.1', port: 6881 },
      { host: '::1', port: 6882 },
    ],
  };
  return createMetainfo({ digest: sha256DigestOf(Buffer.from(String(length))), length, pieces, sources });
}

t.test('leaf hashes of the first piece stand beside the info dictionary, and must fit', async (t) => {
  const { digest, pieces, infoHash } = sample(MIB);
  const blob = { digest, length: MIB, pieces };
  const firstLeaves = randomBytes(16 * 32);
  const metainfo = createMetainfo({ ...blob, firstLeaves });
  t.equal(metainfo.infoHash, infoHash);
  const file = encodeMetainfo(metainfo);
  t.ok(firstLeaves.equals(parseMetainfo(file).firstLeaves ?? Buffer.alloc(0)));
  t.equal(parseMetainfo(encodeMetainfo(createMetainfo(blob))).firstLeaves, undefined);
  t.throws(() => createMetainfo({ ...blob, firstLeaves: firstLeaves.subarray(1) }), MetainfoError);
  const at = file.indexOf('first leaves512:');
  const cut = [file.subarray(0, at), Buffer.from('first leaves32:'), file.subarray(at + 16 + 480)];
  t.throws(() => parseMetainfo(Buffer.concat(cut)), { message: /leaf hashes/ });
  const number = [file.subarray(0, at), Buffer.from('first leavesi1e'), file.subarray(at + 16 + 512)];
  t.throws(() => parseMetainfo(Buffer.concat(number)), { message: /not a string/ });
});

t.test('the piece length follows from the size alone', async (t) => {
  const table: [number, number][] = [
    [1, 256 * 1024],
    [16 * MIB, 256 * 1024],
    [16 * MIB + 1, 512 * 1024],
    [256 * MIB, 512 * 1024],
    [256 * MIB + 1, MIB],
    [2048 * MIB, MIB],
    [2048 * MIB + 1, 2 * MIB],
    [8192 * MIB, 2 * MIB],
    [8192 * MIB + 1, 4 * MIB],
  ];
  for (const [length, expected] of table) t.equal(pieceLengthFor(length), expected, `${length} bytes`);
});

t.test('a metainfo comes back as it was written', async (t) => {
  for (const length of [0, 1, 256 * 1024, 256 * 1024 + 1, 40 * MIB + 3]) {
    const metainfo = sample(length);
    const back = parseMetainfo(encodeMetainfo(metainfo));
    t.same(
      { ...back, pieces: Buffer.from(back.pieces) },
      { ...metainfo, pieces: Buffer.from(metainfo.pieces) },
    );
    const sizes = Array.from({ length: pieceCount(back) }, (_, index) => pieceSize(back, index));
    t.equal(
      sizes.reduce((sum, size) => sum + size, 0),
      length,
    );
  }
});

t.test('the infohash is that of the info dictionary, whatever the sources', async (t) => {
  const metainfo = sample(MIB);
  const bare = parseMetainfo(encodeMetainfo(metainfo, { announce: [], webSeeds: [], peers: [] }));
  t.equal(bare.infoHash, metainfo.infoHash);
});

t.test('mutated files are refused or say what they say', async () => {
  const file = encodeMetainfo(sample(3 * MIB));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      (changes) => {
        const bytes = Buffer.from(file);
        for (const [at, value] of changes) bytes[at] = value;
        try {
          const metainfo = parseMetainfo(bytes);
          return (
            encodeMetainfo(metainfo).includes(Buffer.from(metainfo.info)) &&
            metainfo.pieces.length === 20 * pieceCount(metainfo)
          );
        } catch (error) {
          return error instanceof MetainfoError;
        }
      },
    ),
    { numRuns: 3000 },
  );
});

t.test('other torrents are refused with the reason', async (t) => {
  const good = {
    length: 5,
    name: 'a'.repeat(64),
    'piece length': 256 * 1024,
    pieces: Buffer.alloc(20),
    private: 1,
  };
  const refused = (info: Encodable, reason: RegExp): void => {
    t.throws(() => parseMetainfo(encodeBencode({ info })), { message: reason });
  };
  t.ok(parseMetainfo(encodeBencode({ info: good })));
  refused({ ...good, name: '../../etc/passwd' }, /name/);
  refused({ ...good, private: 0 }, /private/);
  refused({ ...good, 'piece length': 16384 }, /piece length/);
  refused({ ...good, pieces: Buffer.alloc(40) }, /number of piece hashes/);
  refused({ ...good, length: -1 }, /length/);
  refused({ ...good, files: [] }, /unexpected info keys/);
  t.throws(() => parseMetainfo(Buffer.from('l'.repeat(100_000))), { message: /nested too deep/ });
  t.throws(() => parseMetainfo(Buffer.alloc(9 * MIB)), { message: /larger/ });
});

t.test('bencoding: only the canonical form is read', async (t) => {
  for (const text of [
    'i01e',
    'i-0e',
    'i e',
    '01:a',
    '5:abc',
    'd1:b1:x1:a1:ye',
    'd1:a1:x1:a1:ye',
    'i1ei2e',
    'le1',
    'd',
    'l',
    '',
    'i99999999999999999999e',
    '9999999999999:',
  ]) {
    t.throws(() => decodeBencode(Buffer.from(text)), BencodeError, JSON.stringify(text));
  }
});

t.test('bencoding: what is encoded decodes to the same', async () => {
  const { value } = fc.letrec<{ value: Encodable }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.maxSafeInteger(),
      fc.uint8Array({ maxLength: 20 }),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(fc.string({ unit: 'binary-ascii', maxLength: 6 }), tie('value'), { maxKeys: 4 }),
    ),
  }));
  fc.assert(
    fc.property(value, (given) =>
      encodeBencode(plain(decodeBencode(encodeBencode(given), 10))).equals(encodeBencode(given)),
    ),
  );
});

/** Maps back into objects, so that a decoded value can be encoded. */
function plain(value: Bencoded): Encodable {
  if (value instanceof Map) {
    return Object.fromEntries(
      [...(value as ReadonlyMap<string, Bencoded>)].map(([key, item]) => [key, plain(item)]),
    );
  }
  return Array.isArray(value) ? (value as readonly Bencoded[]).map(plain) : (value as number | Uint8Array);
}
