/** What the loose reader takes and refuses; the strict one is tested with metainfo, whose infohashes rest on it. */
import fc from 'fast-check';
import t from 'tap';
import { BencodeError, decodeBencode, decodeBencodeLoosely, type Encodable, encodeBencode } from '#bencode';

const loosely = (text: string): unknown => decodeBencodeLoosely(Buffer.from(text, 'latin1'));

t.test('the field writes keys in any order, zeros in front, and bytes behind', async (t) => {
  t.same(
    loosely('d1:bi1e1:ai002ee rest'),
    new Map([
      ['b', 1],
      ['a', 2],
    ]),
  );
  t.same(loosely('d1:ai1e1:ai2ee'), new Map([['a', 2]]));
  t.equal(loosely('i-0e'), 0);
  t.equal(loosely('i18446744073709551615e'), 2 ** 64);
  for (const text of ['d1:bi1e1:ai2ee', 'i02e', 'i-0e', 'i1e ', 'i18446744073709551615e']) {
    t.throws(() => decodeBencode(Buffer.from(text)), BencodeError, text);
  }
});

t.test('what is cut, too deep or no number is refused', async (t) => {
  const bad = [
    '',
    'd',
    'l',
    'i1',
    'ie',
    'i--1e',
    'i-e',
    '5:abc',
    '-1:a',
    'd1:ae',
    'x',
    `i${'1'.repeat(21)}e`,
    'l'.repeat(99),
  ];
  for (const text of bad) t.throws(() => loosely(text), BencodeError, text);
});

t.test('both read what is written; any bytes are a value or a BencodeError', async (t) => {
  const { tree } = fc.letrec<{ tree: Encodable }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5 },
      fc.integer(),
      fc.uint8Array({ maxLength: 9 }),
      fc.array(tie('tree'), { maxLength: 4 }),
      fc.dictionary(fc.stringMatching(/^[a-z]{0,5}$/), tie('tree'), { maxKeys: 4 }),
    ),
  }));
  fc.assert(
    fc.property(tree, (value) => {
      const bytes = encodeBencode(value);
      t.same(decodeBencodeLoosely(bytes), decodeBencode(bytes));
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      for (const read of [decodeBencode, decodeBencodeLoosely]) {
        try {
          read(bytes);
        } catch (error) {
          if (!(error instanceof BencodeError)) throw error;
        }
      }
    }),
    { numRuns: 2_000 },
  );
});
