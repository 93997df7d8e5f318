import fc from 'fast-check';
import t from 'tap';
import { parseAnswer, TrackerAnswerError } from '../../../src/discovery/bencoded-answer.ts';

const read = (text: string): ReturnType<typeof parseAnswer> =>
  parseAnswer(Buffer.from(text, 'latin1'), '00'.repeat(20));

t.test('any bytes are an answer or a TrackerAnswerError, soon', async (t) => {
  const word = fc.constantFrom(
    'd',
    'l',
    'e',
    'i',
    '-',
    '0',
    '5:peers',
    '6:peers6',
    '8:interval',
    'i1e',
    '2:ip',
    ':',
    '1:a',
    '99:',
  );
  const hostile = fc.oneof(
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.array(word, { maxLength: 40 }).map((words) => Buffer.from(words.join(''))),
  );
  fc.assert(
    fc.property(hostile, (bytes) => {
      try {
        parseAnswer(bytes, '');
      } catch (error) {
        if (!(error instanceof TrackerAnswerError)) throw error;
      }
    }),
    { numRuns: 5_000 },
  );
  t.throws(() => read('l'.repeat(100_000)), /nested too deep/);
  t.throws(() => read('d5:peersl3:-2:'), /not bencoded/);
  t.throws(() => read('d14:failure reason4:busye'), /busy/);
});

t.test('peers in each form, with what is no address left out', async (t) => {
  t.same(read('d5:peers12:\x7f\0\0\x01\x1a\xe1\x0a\0\0\x01\0\0e').peers, [{ host: '127.0.0.1', port: 6881 }]);
  t.same(read(`d5:peers0:6:peers618:${'\0'.repeat(15)}\x01\x1a\xe1e`).peers, [
    { host: '0:0:0:0:0:0:0:1', port: 6881 },
  ]);
  const own = `7:peer id20:${'\0'.repeat(20)}`;
  t.same(
    read(
      `d5:peersld2:ip9:127.0.0.14:porti1e4:zone3:eu1ed2:ip6:a.b-.c4:porti0eed2:ip3:x/y4:porti1eed2:ip1:a4:porti5e${own}e` +
        'd4:porti5eei7eee',
    ).peers,
    [{ host: '127.0.0.1', port: 1, zone: 'eu1' }],
  );
  const many = `d5:peers${6 * 5_000}:${'\x7f\0\0\x01\x1a\xe1'.repeat(5_000)}e`;
  t.equal(read(many).peers.length, 200);
});

t.test('an interval is kept within what is sensible', async (t) => {
  for (const [given, ms] of [
    ['i30e', 30_000],
    ['i0e', 5_000],
    ['i-7e', 5_000],
    ['i99999999999999e', 3_600_000],
    ['3:abc', 30_000],
  ] as const) {
    t.equal(read(`d8:interval${given}e`).intervalMs, ms, given);
  }
});
