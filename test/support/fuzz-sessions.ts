/**
 * What a hostile member does in one connection, as fast-check makes it: a handshake and messages of
 * every kind with mutated bytes, answers to what it is asked that are right, wrong or refused, and
 * how all of it is cut into writes.
 */
import fc from 'fast-check';

export interface BlobShape {
  readonly pieces: number;
  readonly pieceLength: number;
}

/** Bytes of a message, and whether they were mutated. */
export interface Sent {
  readonly bytes: Buffer;
  readonly mutated: boolean;
}

export type Step =
  | ({ readonly kind: 'send' } & Sent)
  /** Answers up to `count` of the requests that came. */
  | { readonly kind: 'answer'; readonly count: number; readonly how: Answer; readonly at: number }
  /** The rest of the bytes is sent in chunks of this size. */
  | { readonly kind: 'cut'; readonly bytes: number }
  | { readonly kind: 'wait'; readonly turns: number };

/** How a request is answered: as it should be, with other bytes, elsewhere, in part, by a refusal, or for another piece. */
export type Answer = 'right' | 'garbage' | 'oneByte' | 'moved' | 'short' | 'reject' | 'twice';

export interface Session {
  /** Reserved bytes, what is wrong with the handshake, and the messages. */
  readonly reserved: Uint8Array;
  readonly greetingMutations: readonly Mutation[];
  /** Whether it introduces itself and says at once what it has, and that it serves and wants. */
  readonly willing: boolean;
  readonly steps: readonly Step[];
}

export interface Mutation {
  readonly kind: 'set' | 'flip' | 'cut' | 'insert' | 'double' | 'length';
  readonly at: number;
  readonly value: number;
  /** Anywhere; behind length and id, so that the message is understood; or in the low byte of a field, so that it may even be possible. */
  readonly where: 'anywhere' | 'body' | 'field';
}

const HEADER = 5;

export function mutate(input: Buffer, mutations: readonly Mutation[]): Buffer {
  let bytes = input;
  for (const { kind, at, value, where } of mutations) {
    const from = where !== 'anywhere' && bytes.length > HEADER ? HEADER : 0;
    const any = from + (at % Math.max(1, bytes.length - from));
    const place = where === 'field' ? Math.min(bytes.length - 1, any - ((any - HEADER) % 4) + 3) : any;
    if (kind === 'set') bytes[place] = where === 'field' ? value % 6 : value;
    else if (kind === 'flip') bytes[place] = (bytes[place] ?? 0) ^ (1 << (value & 7));
    else if (kind === 'cut') bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + 1)]);
    else if (kind === 'insert') {
      bytes = Buffer.concat([bytes.subarray(0, place), Buffer.of(value), bytes.subarray(place)]);
    } else if (kind === 'double') {
      bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(Math.max(0, place - 20))]);
    } else if (bytes.length >= 4) bytes.writeUInt32BE(value * (at % 2 === 0 ? 1 : 0x10101), 0);
  }
  // What changes the length inside a message keeps its prefix true, half of the time.
  const [first] = mutations;
  if (first !== undefined && first.value % 2 === 0 && first.kind !== 'length' && bytes.length > 4) {
    bytes.writeUInt32BE(bytes.length - 4, 0);
  }
  return bytes;
}

function frame(id: number, numbers: readonly number[], data: Uint8Array = new Uint8Array(0)): Buffer {
  const head = Buffer.alloc(HEADER + 4 * numbers.length);
  head.writeUInt32BE(head.length - 4 + data.length, 0);
  head[4] = id;
  for (const [index, number] of numbers.entries()) head.writeUInt32BE(number, HEADER + 4 * index);
  return Buffer.concat([head, data]);
}

const byte = fc.integer({ min: 0, max: 255 });

const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.oneof(
    { weight: 30, arbitrary: fc.constant('set' as const) },
    { weight: 8, arbitrary: fc.constant('flip' as const) },
    { weight: 1, arbitrary: fc.constantFrom('cut' as const, 'insert' as const, 'double' as const) },
    { weight: 1, arbitrary: fc.constant('length' as const) },
  ),
  at: fc.nat({ max: 5_000 }),
  value: byte,
  where: fc.oneof(
    { weight: 30, arbitrary: fc.constant('field' as const) },
    { weight: 4, arbitrary: fc.constant('body' as const) },
    { weight: 1, arbitrary: fc.constant('anywhere' as const) },
  ),
});

const digits = fc.oneof(fc.nat({ max: 70_000 }), fc.constantFrom(-1, 2 ** 31, 2 ** 53)).map(String);
const text = fc.constantFrom(
  'm',
  'p',
  'v',
  'reqq',
  'ut_metadata',
  'shoal_zone',
  'shoal_seed',
  'msg_type',
  'piece',
);

/** Bencoded text, and what only looks like it. */
const bencode = fc.letrec<{ value: string; string: string }>((tie) => ({
  string: fc.oneof(text, fc.string({ maxLength: 20 })).map((value) => `${Buffer.byteLength(value)}:${value}`),
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    digits.map((value) => `i${value}e`),
    tie('string'),
    fc.array(tie('value'), { maxLength: 4 }).map((values) => `l${values.join('')}e`),
    fc
      .array(fc.tuple(tie('string'), tie('value')), { maxLength: 6 })
      .map((all) => `d${all.flat().join('')}e`),
  ),
})).value;

const INTRODUCTION = frame(
  20,
  [],
  Buffer.from('\0d1:md11:ut_metadatai3ee1:pi6999e4:reqqi500e10:shoal_zone3:a/be'),
);

/** The first messages of a member that serves (`everything`) or wants. */
export function willingness(shape: BlobShape, everything: boolean): Buffer {
  const bits = Buffer.alloc(Math.ceil(shape.pieces / 8));
  if (everything)
    for (let piece = 0; piece < shape.pieces; piece++) {
      bits[piece >> 3] = (bits[piece >> 3] ?? 0) | (0x80 >> (piece & 7));
    }
  return Buffer.concat([frame(5, [], bits), INTRODUCTION, frame(1, []), frame(2, [])]);
}

function messages(shape: BlobShape): fc.Arbitrary<Buffer> {
  const piece = fc.oneof(
    { weight: 40, arbitrary: fc.nat({ max: shape.pieces - 1 }) },
    { weight: 1, arbitrary: fc.constantFrom(shape.pieces, 2 ** 31, 2 ** 32 - 1) },
  );
  const offset = fc.oneof(
    { weight: 40, arbitrary: fc.nat({ max: shape.pieceLength / 16_384 - 1 }).map((block) => block * 16_384) },
    { weight: 1, arbitrary: fc.nat({ max: shape.pieceLength + 10 }) },
  );
  const length = fc.oneof(
    { weight: 40, arbitrary: fc.constantFrom(16_384, 16_000) },
    { weight: 1, arbitrary: fc.constantFrom(0, 1, 131_072, 131_073, 2 ** 32 - 1) },
  );
  const bits = fc
    .uint8Array({ minLength: Math.ceil(shape.pieces / 8), maxLength: Math.ceil(shape.pieces / 8) })
    .map((value) => {
      const spare = 8 * value.length - shape.pieces;
      value[value.length - 1] = (value[value.length - 1] ?? 0) & (0xff << spare);
      return value;
    });
  const plain = fc.constantFrom(0, 1, 1, 1, 2, 2, 2, 3, 15).map((id) => frame(id, []));
  const indexed = fc.tuple(fc.constantFrom(4, 4, 13, 17), piece).map(([id, at]) => frame(id, [at]));
  const places = fc
    .tuple(fc.constantFrom(6, 6, 6, 8, 16), piece, offset, length)
    .map(([id, ...numbers]) => frame(id, numbers));
  const block = fc
    .tuple(piece, offset, fc.uint8Array({ minLength: 1, maxLength: 300 }))
    .map(([at, from, data]) => frame(7, [at, from], data));
  const extended = fc
    .tuple(fc.constantFrom(0, 0, 1, 1, 7), bencode)
    .map(([id, value]) => frame(20, [], Buffer.concat([Buffer.of(id), Buffer.from(value)])));
  const metadata = fc
    .nat({ max: 3 })
    .map((at) => frame(20, [], Buffer.from(`\x01d8:msg_typei0e5:piecei${at}ee`)));
  const unknown = fc.tuple(byte, fc.uint8Array({ maxLength: 60 })).map(([id, data]) => frame(id, [], data));
  return fc.oneof(
    { weight: 4, arbitrary: plain },
    { weight: 4, arbitrary: indexed },
    { weight: 5, arbitrary: places },
    { weight: 3, arbitrary: block },
    { weight: 2, arbitrary: extended },
    { weight: 2, arbitrary: metadata },
    { weight: 1, arbitrary: fc.constant(INTRODUCTION) },
    { weight: 2, arbitrary: bits.map((value) => frame(5, [], value)) },
    { weight: 1, arbitrary: unknown },
    { weight: 1, arbitrary: fc.constant(0).map(() => Buffer.alloc(4)) },
  );
}

/** Sessions about a blob of this shape. */
export function sessions(shape: BlobShape): fc.Arbitrary<Session> {
  const send = fc.tuple(messages(shape), fc.array(mutation, { maxLength: 2 })).map(
    ([bytes, mutations]): Step => ({
      kind: 'send',
      bytes: mutate(Buffer.from(bytes), mutations),
      mutated: mutations.length > 0,
    }),
  );
  const answer = fc.record({
    kind: fc.constant('answer' as const),
    count: fc.integer({ min: 1, max: 16 }),
    how: fc.constantFrom<Answer>(
      'right',
      'right',
      'right',
      'garbage',
      'oneByte',
      'moved',
      'short',
      'reject',
      'twice',
    ),
    at: fc.nat({ max: 16_383 }),
  });
  const cut = fc.record({ kind: fc.constant('cut' as const), bytes: fc.integer({ min: 1, max: 700 }) });
  const wait = fc.record({ kind: fc.constant('wait' as const), turns: fc.integer({ min: 1, max: 30 }) });
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 8, arbitrary: send },
    { weight: 3, arbitrary: answer },
    { weight: 1, arbitrary: cut },
    { weight: 1, arbitrary: wait },
  );
  return fc.record({
    reserved: fc.oneof(
      { weight: 4, arbitrary: fc.constant(Uint8Array.of(0, 0, 0, 0, 0, 0x10, 0, 4)) },
      { weight: 1, arbitrary: fc.uint8Array({ minLength: 8, maxLength: 8 }) },
    ),
    greetingMutations: fc.oneof(
      { weight: 9, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.array(mutation, { minLength: 1, maxLength: 3 }) },
    ),
    willing: fc.oneof(
      { weight: 4, arbitrary: fc.constant(true) },
      { weight: 1, arbitrary: fc.constant(false) },
    ),
    steps: fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }),
  });
}
