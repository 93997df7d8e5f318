import fc from 'fast-check';
import t from 'tap';
import { closedRangeLength, parseRange } from '#oci';

t.test('the length of a closed range is known before the size', async (t) => {
  const table: [string | undefined, number | undefined][] = [
    ['bytes=0-0', 1],
    ['bytes=5-9', 5],
    ['Bytes=5-9', 5],
    ['bytes=-51', 51],
    ['bytes=-0', undefined],
    ['bytes=5-', undefined],
    ['bytes=-', undefined],
    ['bytes=9-5', undefined],
    ['bytes=0-1,5-6', undefined],
    ['bytes=0-1, ', undefined],
    ['lines=1-2', undefined],
    ['bytes=0-99999999999999999', undefined],
    ['', undefined],
    [undefined, undefined],
  ];
  for (const [header, expected] of table) t.equal(closedRangeLength(header), expected, String(header));
});

t.test('a range never turns out longer than it said', async () => {
  const part = fc.oneof(fc.nat(2000).map(String), fc.constantFrom('', ' ', '-', '0', 'x'));
  const header = fc.oneof(
    fc.tuple(part, part).map(([first, last]) => `bytes=${first}-${last}`),
    fc.string().map((text) => `bytes=${text}`),
    fc.string(),
  );
  fc.assert(
    fc.property(header, fc.nat(1500), (text, size) => {
      const said = closedRangeLength(text);
      const range = parseRange(text, size);
      if (said === undefined) {
        // Open-ended, or of no length that can be known: only those may stand for something.
        return typeof range !== 'object' || /-\s*$/.test(text);
      }
      return typeof range === 'object' ? range.end - range.start + 1 <= said : range === 'unsatisfiable';
    }),
  );
});
