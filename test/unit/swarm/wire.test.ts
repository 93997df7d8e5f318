import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { encodeBencode } from '#bencode';
import {
  createDecoder,
  decodeExtendedHandshake,
  decodeMetadataMessage,
  encodeExtendedHandshake,
  encodeHandshake,
  encodeMetadataPiece,
  parseHandshake,
  WireError,
  type WireEvents,
  writeBitfield,
  writeBlockHeader,
  writeExtendedHeader,
  writeKeepAlive,
  writeMessage,
} from '../../../src/swarm/wire/index.ts';
import { type InfoHash, parseInfoHash } from '../../../src/torrent/info-hash.ts';

/** Streams with at least one mutated message or handshake each; a long run sets FUZZ_RUNS=1000000. */
const FUZZ_RUNS = Number(process.env['FUZZ_RUNS'] ?? 3_000);

const PIECES = 37;
const PIECE_LENGTH = 65_536;
const LAST_SIZE = 20_000;
const pieceSize = (piece: number): number => (piece === PIECES - 1 ? LAST_SIZE : PIECE_LENGTH);

type Event = readonly (string | number)[];

/** A decoder whose events are written down; blocks go to a buffer of their own. */
function recorder(fast = true): { events: Event[]; push: (chunk: Buffer) => void } {
  const events: Event[] = [];
  let block: Uint8Array = new Uint8Array(0);
  const note =
    (name: string) =>
    (...values: number[]): void =>
      void events.push([name, ...values]);
  const handlers: WireEvents = {
    keepAlive: note('keepAlive'),
    choke: note('choke'),
    unchoke: note('unchoke'),
    interested: note('interested'),
    notInterested: note('notInterested'),
    have: note('have'),
    bitfield: (bits) => void events.push(['bitfield', Buffer.from(bits).toString('hex')]),
    haveAll: note('haveAll'),
    haveNone: note('haveNone'),
    request: note('request'),
    cancel: note('cancel'),
    reject: note('reject'),
    unknown: note('unknown'),
    extended: (id, payload) => void events.push(['extended', id, Buffer.from(payload).toString('hex')]),
    blockStart(piece) {
      block = new Uint8Array(pieceSize(piece));
      return block;
    },
    blockEnd: (piece, offset, length, stored) =>
      void events.push([
        'block',
        piece,
        offset,
        String(stored),
        Buffer.from(block).toString('hex', offset, offset + length),
      ]),
  };
  const decoder = createDecoder(handlers, { pieceCount: PIECES, pieceSize, fast });
  return { events, push: (chunk) => decoder.push(chunk) };
}

/** Pushes bytes in chunks of the given sizes, repeated. */
function pushChunked(push: (chunk: Buffer) => void, bytes: Uint8Array, sizes: readonly number[]): void {
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? bytes.length;
    // A copy, overwritten afterwards: the decoder must not keep the chunk.
    const chunk = Buffer.from(bytes.subarray(at, at + size));
    push(chunk);
    chunk.fill(0xee);
    at += size;
  }
}

function fixed(name: Parameters<typeof writeMessage>[2], ...fields: number[]): Buffer {
  const bytes = Buffer.alloc(17);
  return bytes.subarray(0, writeMessage(bytes, 0, name, ...fields));
}

const pieceIndex = fc.integer({ min: 0, max: PIECES - 1 });
const blockPlace = pieceIndex.chain((piece) =>
  fc
    .integer({ min: 0, max: pieceSize(piece) - 1 })
    .chain((offset) =>
      fc
        .integer({ min: 1, max: Math.min(2_000, pieceSize(piece) - offset) })
        .map((length) => ({ piece, offset, length })),
    ),
);

/** One message: its bytes and the event that it must give. */
interface Sample {
  readonly bytes: Buffer;
  readonly event: Event;
}

const plain = fc
  .constantFrom('choke', 'unchoke', 'interested', 'notInterested')
  .map((name): Sample => ({ bytes: fixed(name as 'choke'), event: [name] }));
const keepAlive = fc.constant(0).map((): Sample => {
  const bytes = Buffer.alloc(4, 0xff);
  writeKeepAlive(bytes, 0);
  return { bytes, event: ['keepAlive'] };
});
const have = pieceIndex.map((piece): Sample => ({ bytes: fixed('have', piece), event: ['have', piece] }));
const blocks = fc.tuple(fc.constantFrom('request', 'cancel', 'reject'), blockPlace).map(
  ([name, { piece, offset, length }]): Sample => ({
    bytes: fixed(name as 'request', piece, offset, length),
    event: [name, piece, offset, length],
  }),
);
const block = fc
  .tuple(blockPlace, fc.integer({ min: 0, max: 255 }))
  .map(([{ piece, offset, length }, fill]): Sample => {
    const bytes = Buffer.alloc(13 + length, fill);
    writeBlockHeader(bytes, 0, piece, offset, length);
    return { bytes, event: ['block', piece, offset, 'true', bytes.toString('hex', 13)] };
  });
const extended = fc
  .tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 300 }))
  .map(([id, payload]): Sample => {
    const bytes = Buffer.concat([Buffer.alloc(6), payload]);
    writeExtendedHeader(bytes, id, payload.length);
    return { bytes, event: ['extended', id, Buffer.from(payload).toString('hex')] };
  });
const samples = fc.array(fc.oneof(plain, keepAlive, have, blocks, block, extended), { maxLength: 30 });
const chunkSizes = fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 20 });

t.test('any messages in any chunks give the same events', async () => {
  fc.assert(
    fc.property(samples, chunkSizes, (messages, sizes) => {
      const { events, push } = recorder();
      pushChunked(push, Buffer.concat(messages.map((message) => message.bytes)), sizes);
      assert.deepEqual(
        events,
        messages.map((message) => message.event),
      );
    }),
    { numRuns: 300 },
  );
});

t.test('a bitfield names its pieces', async () => {
  fc.assert(
    fc.property(fc.uniqueArray(pieceIndex), (held) => {
      const { events, push } = recorder();
      const message = writeBitfield(PIECES, (piece) => held.includes(piece));
      pushChunked(push, message, [3]);
      const hex = String(events[0]?.[1]);
      const bits = Buffer.from(hex, 'hex');
      const read = Array.from({ length: PIECES }, (_, piece) => piece).filter(
        (piece) => ((bits[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0,
      );
      assert.deepEqual(
        read,
        [...held].sort((a, b) => a - b),
      );
    }),
  );
});

t.test('what breaks the rules is refused with the reason', async () => {
  const length = (value: number, id: number): Buffer => {
    const bytes = Buffer.alloc(5);
    bytes.writeUInt32BE(value, 0);
    bytes[4] = id;
    return bytes;
  };
  const spare = writeBitfield(PIECES, () => true);
  spare[spare.length - 1] = 0xff;
  const header = Buffer.alloc(13);
  writeBlockHeader(header, 0, 0, PIECE_LENGTH - 100, 200);
  const cases: [string, Buffer | Uint8Array, RegExp][] = [
    ['piece out of range', fixed('have', PIECES), /piece 37 of 37/],
    ['request out of range', fixed('request', PIECES, 0, 10), /piece 37/],
    ['request of nothing', fixed('request', 0, 0, 0), /block of 0/],
    ['request too long', fixed('request', 0, 0, 131_073), /block of 131073/],
    ['request outside its piece', fixed('request', PIECES - 1, 16_384, 16_384), /outside piece/],
    ['offset near 2^32', fixed('request', 0, 0xffff_ffff, 16_384), /outside piece/],
    ['cancel out of range', fixed('cancel', 0, 65_536, 1), /outside piece/],
    ['block outside its piece', header, /outside piece/],
    ['huge length', length(0xffff_ffff, 7), /block message/],
    ['short block', length(9, 7), /block message/],
    ['have of wrong length', length(6, 4), /message 4/],
    ['bitfield of wrong length', length(7, 5), /bitfield message/],
    ['huge extended', length(70_000, 20), /extended message/],
    ['huge unknown', length(70_000, 99), /unknown message/],
    ['spare bits', spare, /do not exist/],
  ];
  for (const [name, bytes, reason] of cases) {
    t.throws(() => pushChunked(recorder().push, bytes, [1]), { name: 'WireError', message: reason }, name);
  }
  for (const name of ['haveAll', 'haveNone', 'reject', 'suggest', 'allowedFast'] as const) {
    const bytes = fixed(name, 1, 0, 100);
    t.throws(() => recorder(false).push(bytes), { message: /fast/ }, `${name} without fast`);
    t.doesNotThrow(() => recorder(true).push(bytes), `${name} with fast`);
  }
});

t.test('unknown short messages are skipped', async () => {
  const { events, push } = recorder();
  const unknown = Buffer.alloc(4 + 100, 9);
  unknown.writeUInt32BE(100, 0);
  pushChunked(push, Buffer.concat([unknown, fixed('have', 3)]), [7]);
  t.strictSame(events, [
    ['unknown', 9],
    ['have', 3],
  ]);
});

t.test('a dropped block passes without being written', async () => {
  let into: Uint8Array = new Uint8Array(0);
  const seen: boolean[] = [];
  const nothing = (): void => undefined;
  const decoder = createDecoder(
    {
      keepAlive: nothing,
      choke: nothing,
      unchoke: nothing,
      interested: nothing,
      notInterested: nothing,
      have: nothing,
      bitfield: nothing,
      haveAll: nothing,
      haveNone: nothing,
      request: nothing,
      cancel: nothing,
      reject: nothing,
      unknown: nothing,
      extended: nothing,
      blockStart(piece) {
        into = new Uint8Array(pieceSize(piece));
        return into;
      },
      blockEnd: (_piece, _offset, _length, stored) => void seen.push(stored),
    },
    { pieceCount: PIECES, pieceSize, fast: true },
  );
  const message = Buffer.alloc(13 + 100, 7);
  writeBlockHeader(message, 0, 1, 0, 100);
  decoder.push(message.subarray(0, 50));
  decoder.dropBlock();
  decoder.push(message.subarray(50));
  t.strictSame(seen, [false]);
  t.equal(into[36], 7);
  t.equal(into[37], 0);
});

const INFO_HASH = parseInfoHash('0123456789abcdef0123456789abcdef01234567') as InfoHash;
const PEER_ID = '2d5348303130302d000102030405060708090a0b';

t.test('handshakes round trip and are refused early', async () => {
  const bytes = encodeHandshake(INFO_HASH, PEER_ID);
  t.strictSame(parseHandshake(bytes), {
    infoHash: INFO_HASH,
    peerId: PEER_ID,
    fast: true,
    extended: true,
  });
  for (let end = 0; end < 68; end++) assert.equal(parseHandshake(bytes.subarray(0, end)), undefined);
  t.throws(() => parseHandshake(Buffer.from('GET / HTTP/1.1')), { name: 'WireError' });
  t.throws(() => parseHandshake(Buffer.from('\x13BitTorrent protocoL')), { name: 'WireError' });
});

t.test('extended messages round trip', async () => {
  const message = encodeExtendedHandshake({
    port: 6881,
    zone: 'eu1/rack7',
    seed: true,
    requestQueue: 2000,
    client: 'Shoal',
    metadataBytes: 5,
  });
  t.strictSame(decodeExtendedHandshake(message.subarray(6)), {
    port: 6881,
    zone: 'eu1/rack7',
    seed: true,
    requestQueue: 2000,
    client: 'Shoal',
    metadataId: 1,
  });
  const piece = encodeMetadataPiece(3, 0, Buffer.from('d4:name1:xe'));
  t.equal(piece[5], 3);
  t.match(piece.toString('latin1'), /d8:msg_typei1e5:piecei0e10:total_sizei11eed4:name1:xe$/);
  t.strictSame(decodeMetadataMessage(1, encodeBencode({ msg_type: 0, piece: 4 })), { piece: 4 });
  t.equal(decodeMetadataMessage(1, encodeBencode({ msg_type: 2, piece: 4 })), undefined);
});

t.test('hostile bencoding is refused, not followed', async () => {
  const bad = [
    '',
    'd',
    'l-2:',
    'd-2:e',
    'i1',
    'ie',
    'i--1e',
    '5:abc',
    '99999999999999999999:',
    'l'.repeat(20_000),
  ];
  for (const text of bad) {
    t.throws(() => decodeExtendedHandshake(Buffer.from(text)), WireError, text.slice(0, 20));
  }
  t.strictSame(decodeExtendedHandshake(Buffer.from('d1:pi70000e4:reqqi-5e1:md11:ut_metadatai900eee')), {});
});

t.test('mutated messages and handshakes give events or a WireError, within bounds', async () => {
  const mutation = fc.record({
    at: fc.nat(),
    value: fc.integer({ min: 0, max: 255 }),
    kind: fc.constantFrom('set', 'cut', 'double'),
  });
  const bitfield = fc
    .uniqueArray(pieceIndex)
    .map((held) => Buffer.from(writeBitfield(PIECES, (piece) => held.includes(piece))));
  fc.assert(
    fc.property(
      samples,
      bitfield,
      fc.array(mutation, { minLength: 1, maxLength: 6 }),
      chunkSizes,
      (messages, bits, mutations, sizes) => {
        let bytes = Buffer.concat([
          encodeHandshake(INFO_HASH, PEER_ID),
          bits,
          ...messages.map((message) => message.bytes),
        ]);
        for (const { at, value, kind } of mutations) {
          const place = at % bytes.length;
          if (kind === 'set') bytes[place] = value;
          else if (kind === 'cut')
            bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + 1)]);
          else bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(Math.max(0, place - 40))]);
        }
        const { events, push } = recorder();
        try {
          parseHandshake(bytes);
          pushChunked(push, bytes.subarray(68), sizes);
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
        }
        for (const [name, piece, offset, length] of events) {
          if (name === 'have' && Number(piece) >= PIECES) throw new Error('piece outside the blob');
          if (name === 'request' && Number(offset) + Number(length) > pieceSize(Number(piece))) {
            throw new Error('request outside its piece');
          }
          if (name === 'extended') {
            const payload = Buffer.from(String(offset), 'hex');
            try {
              decodeExtendedHandshake(payload);
            } catch (error) {
              if (!(error instanceof WireError)) throw error;
            }
          }
        }
      },
    ),
    { numRuns: FUZZ_RUNS },
  );
});
