import fc from 'fast-check';
import t from 'tap';
import { rowsOf } from '../../../src/cli/status.ts';
import { formatBytes, formatRate, formatTable } from '../../../src/cli/text.ts';
import { sumSamples } from '../../../src/cli/up/metrics-text.ts';

t.test('bytes and rates read like link rates', async (t) => {
  t.equal(formatBytes(0), '0 B');
  t.equal(formatBytes(999), '999 B');
  t.equal(formatBytes(1234), '1.2 kB');
  t.equal(formatBytes(999_960), '1.0 MB');
  t.equal(formatBytes(104_857_600), '104.9 MB');
  t.equal(formatRate(100_000_000, 2), '50.0 MB/s');
  t.equal(formatRate(1, 0), '-');
});

t.test('a number of bytes is never shown with four digits before its unit', async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 53 - 1 }), (bytes) =>
      /^\d{1,4}(\.\d)? (B|[kMGTP]B)$/.test(formatBytes(bytes)),
    ),
  );
  t.pass('held');
});

t.test('a table lines its columns up', async (t) => {
  t.equal(
    formatTable(
      ['agent', 'time'],
      [
        ['agent-1', '1 s'],
        ['a', '10 s'],
      ],
    ),
    'agent    time\n-------  ----\nagent-1   1 s\na        10 s\n',
  );
});

t.test('status rows name the path of each value', async (t) => {
  t.strictSame(rowsOf({ a: 1, b: { c: null }, list: ['x', 'y'], none: [], peers: [{ p: 1 }] }), [
    ['a', '1'],
    ['b.c', 'null'],
    ['list', 'x, y'],
    ['none', '-'],
    ['peers.0.p', '1'],
  ]);
});

t.test('samples of a metric are added up by label', async (t) => {
  const text = [
    '# HELP shoal_fetch_bytes_total x',
    'shoal_fetch_bytes_total{from="peer",via="swarm"} 10',
    'shoal_fetch_bytes_total{from="origin",via="swarm"} 2',
    'shoal_fetch_bytes_total{from="origin",via="http"} 3.5e1',
    'shoal_fetch_bytes_total_more{from="origin"} 1000',
    'shoal_cache_blobs 4',
  ].join('\n');
  t.equal(sumSamples(text, 'shoal_fetch_bytes_total', { from: 'origin' }), 37);
  t.equal(sumSamples(text, 'shoal_fetch_bytes_total', { from: 'origin', via: 'http' }), 35);
  t.equal(sumSamples(text, 'shoal_cache_blobs', {}), 4);
  t.equal(sumSamples(text, 'shoal_absent', {}), 0);
});
