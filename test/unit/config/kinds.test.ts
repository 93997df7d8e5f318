import fc from 'fast-check';
import t from 'tap';
import {
  duration,
  host,
  hostPort,
  hostPortOrOff,
  type Kind,
  oneOf,
  path,
  rate,
  serverUrl,
  size,
  url,
} from '#config';

const read = <T>(kind: Kind<T>, text: string): T | undefined => kind.schema.safeParse(text).data;

t.test('sizes are bytes, binary and decimal', async (t) => {
  t.equal(read(size, '10GiB'), 10 * 1024 ** 3);
  t.equal(read(size, '1.5 MiB'), 1_572_864);
  t.equal(read(size, '500MB'), 500_000_000);
  t.equal(read(size, '4096'), 4096);
  for (const bad of ['', '-1', '0', '10Gib', 'GiB', '10 GiB x', '1e9', '99999999TiB', 'constructor', '1/s']) {
    t.equal(read(size, bad), undefined, bad);
  }
});

t.test('rates are bytes per second, bits are divided by eight', async (t) => {
  t.equal(read(rate, '100MiB/s'), 104_857_600);
  t.equal(read(rate, '800Mbit/s'), 100_000_000);
  t.equal(read(rate, '1Gbit/s'), 125_000_000);
  for (const bad of ['100', '100MiB', '1bit', '1bit/s', '10 per second'])
    t.equal(read(rate, bad), undefined, bad);
});

t.test('durations are milliseconds', async (t) => {
  t.equal(read(duration, '30s'), 30_000);
  t.equal(read(duration, '1.5h'), 5_400_000);
  t.equal(read(duration, '30'), undefined);
});

t.test('addresses, hosts, URLs, words and paths', async (t) => {
  t.strictSame(read(hostPort, '[::1]:5000'), { host: '::1', port: 5000 });
  t.equal(read(hostPort, 'off'), undefined);
  t.equal(read(hostPortOrOff, 'off'), 'off');
  t.equal(read(hostPort, '127.0.0.1:70000'), undefined);
  t.equal(read(host, 'node-7.example'), 'node-7.example');
  t.equal(read(host, 'fe80::1'), 'fe80::1');
  t.equal(read(host, 'node:80'), undefined);
  t.equal(read(url, 'https://origin.example:5000/'), 'https://origin.example:5000');
  t.equal(read(url, 'dns+http://origin.example'), undefined);
  t.equal(read(serverUrl, 'http://10.0.0.1:5000/'), 'http://10.0.0.1:5000');
  t.equal(read(serverUrl, 'dns+http://origin.example:5000/'), 'dns+http://origin.example:5000');
  for (const bad of [
    'dns+http://10.0.0.1:5000',
    'dns+http://[::1]',
    'dns+ftp://a',
    'dns+',
    'dns+http://a:b@c',
  ])
    t.equal(read(serverUrl, bad), undefined, bad);
  for (const bad of ['origin:5000', 'ftp://x', 'http:/x', 'http://', 'http://a?b=c']) {
    t.equal(read(url, bad), undefined, bad);
  }
  t.equal(read(oneOf('open', 'token'), 'open'), 'open');
  t.equal(read(oneOf('open', 'token'), 'Open'), undefined);
  t.equal(read(path, ' '), undefined);
});

t.test('no text makes a kind throw, and what is accepted is sensible', async (t) => {
  const positive = [size, rate, duration];
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.stringMatching(/^\d{1,20}\.?\d{0,8} ?[kKMGT]?i?[Bb]?(it)?(\/s)?$/)),
      (text) => {
        for (const kind of positive) {
          const value = read(kind, text);
          if (value !== undefined && !(Number.isSafeInteger(value) && value > 0)) return false;
        }
        for (const kind of [hostPort, hostPortOrOff, host, url, serverUrl, path]) kind.schema.safeParse(text);
        return true;
      },
    ),
  );
  t.pass('held');
});

t.test('a size in MiB is what it says', async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000_000 }), (n) => read(size, `${n}MiB`) === n * 1024 ** 2),
  );
  t.pass('held');
});
