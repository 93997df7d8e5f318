/** Hostile announces and scrapes: each is understood, or refused with a reason, and nothing else happens. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { MAX_SCRAPE, parseAnnounce, parseScrape, QueryError } from '../../../tracker/announce-http.ts';
import { readDatagram } from '../../../tracker/announce-udp.ts';
import { createConnectionIds } from '../../../tracker/connection-id.ts';
import { announce, randomInfoHash, trackerHere } from '../../support/tracker.ts';

const percent = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex').replace(/../g, '%$&');
const twenty = fc.uint8Array({ minLength: 20, maxLength: 20 });
const ip = '127.0.0.1';
const MAGIC = Buffer.from('0000041727101980', 'hex');

t.test('an announce in any order and spelling has one form', async (t) => {
  fc.assert(
    fc.property(
      twenty,
      twenty,
      fc.integer({ min: 1, max: 65_535 }),
      fc.nat(),
      fc.constantFrom('', 'started', 'stopped', 'completed'),
      (infoHash, peerId, port, left, event) => {
        const parts = [
          `port=${port}`,
          `event=${event}`,
          `left=${left}`,
          // As bytes and as escapes, whatever the client prefers.
          `info_hash=${Buffer.from(infoHash)
            .toString('latin1')
            .replace(/[^a-zA-Z0-9]/g, (c) => percent(Buffer.from(c, 'latin1')))}`,
          `peer_id=${percent(peerId)}`,
          'ip=203.0.113.1',
          '__proto__=x',
          'compact=1',
        ];
        t.strictSame(parseAnnounce(`/announce?${parts.join('&')}`), {
          infoHash: Buffer.from(infoHash).toString('hex'),
          peerId: Buffer.from(peerId).toString('hex'),
          ...{ port, left, event: event === '' ? undefined : event },
          ...{ numwant: 50, compact: true, libp2p: undefined, passkey: undefined },
        });
      },
    ),
    { numRuns: 50 },
  );
});

t.test('any text is an announce or a QueryError', async (t) => {
  const word = fc.constantFrom(
    'info_hash',
    'peer_id',
    'port',
    'left',
    'event',
    'numwant',
    'compact',
    '=',
    '&',
    '?',
    '%',
    '%00',
    '%ff',
    '+',
    '-1',
    '0',
    '6881',
    '1e9',
    '0x10',
    'NaN',
    'Infinity',
    'a'.repeat(20),
    '%41'.repeat(20),
    '__proto__',
    'constructor',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(word).map((words) => `/announce?${words.join('')}`),
      ),
      (url) => {
        for (const read of [parseAnnounce, parseScrape]) {
          try {
            read(url);
          } catch (error) {
            if (!(error instanceof QueryError)) throw error;
          }
        }
      },
    ),
    { numRuns: 2_000 },
  );
  t.pass();
});

t.test('what is wrong with an announce or a scrape is said', async (t) => {
  const good = { info_hash: '%41'.repeat(20), peer_id: 'b'.repeat(20), port: '6881' };
  const url = (change: Record<string, string>): string =>
    `/announce?${Object.entries({ ...good, ...change })
      .map(([key, value]) => `${key}=${value}`)
      .join('&')}`;
  t.ok(parseAnnounce(url({})));
  t.equal(parseAnnounce(url({ numwant: '-1' })).numwant, 50);
  t.equal(parseAnnounce(url({ numwant: '99999' })).numwant, 82);
  const bad: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ info_hash: 'short' }, /info_hash must be 20 bytes/],
    [{ info_hash: '%41'.repeat(21) }, /info_hash/],
    [{ peer_id: '' }, /peer_id/],
    [{ port: '0' }, /port/],
    [{ port: '65536' }, /port/],
    [{ port: '1.5' }, /port/],
    [{ port: '0x1ae1' }, /port/],
    [{ port: '6881&port=6882' }, /more than once/],
    [{ left: '-1' }, /left/],
    [{ left: '1e400' }, /left/],
    [{ event: 'exploded' }, /unknown event/],
    [{ x: 'y'.repeat(5_000) }, /too long/],
    [{ x: '&'.repeat(500) }, /too many parameters/],
  ];
  for (const [change, reason] of bad) t.throws(() => parseAnnounce(url(change)), reason);
  const scrape = (count: number): string =>
    `/scrape?${'info_hash=%41%41%41%41%41aaaaaaaaaaaaaaa&'.repeat(count)}`;
  t.equal(parseScrape(scrape(MAX_SCRAPE)).length, MAX_SCRAPE);
  t.throws(() => parseScrape(scrape(MAX_SCRAPE + 1)), /a scrape may name/);
  t.throws(() => parseScrape('/scrape'), /info_hash is missing/);
  t.throws(() => parseScrape('/scrape?info_hash=abc'), /20 bytes/);
});

t.test('connection ids are bound to the address and run out', async (t) => {
  let now = 1_000 * 60_000;
  const ids = createConnectionIds(() => now);
  const id = ids.issue('192.0.2.1');
  t.ok(ids.accepts(id, '192.0.2.1'));
  t.notOk(ids.accepts(id, '192.0.2.2'));
  t.notOk(ids.accepts(MAGIC, '192.0.2.1'));
  t.notOk(ids.accepts(id.subarray(1), '192.0.2.1'));
  t.notOk(createConnectionIds(() => now).accepts(id, '192.0.2.1'), 'another secret');
  now += 2 * 60_000;
  t.ok(ids.accepts(id, '192.0.2.1'), 'BEP 15: two minutes');
  now += 60_000;
  t.notOk(ids.accepts(id, '192.0.2.1'));
});

t.test('datagrams: only a proven address gets further, and without what it says of itself', async (t) => {
  const ids = createConnectionIds(() => 0);
  const message = (id: Uint8Array, action: number, rest: Buffer): Buffer =>
    Buffer.concat([id, Buffer.from([0, 0, 0, action, 1, 2, 3, 4]), rest]);
  const body = Buffer.alloc(82);
  body.writeUInt16BE(6881, 80);
  body.writeUInt32BE(0xcb007109, 68);
  body.writeUInt32BE(0xffffffff, 76);
  body.fill(0xff, 48, 56);
  const kind = (buffer: Buffer): string => readDatagram(buffer, ip, ids).kind;

  t.equal(kind(message(MAGIC, 0, Buffer.alloc(0))), 'connect');
  t.equal(kind(message(ids.issue(ip), 0, Buffer.alloc(0))), 'drop');
  t.equal(kind(message(MAGIC, 1, body)), 'expired', "the library's fixed id proves nothing");
  t.equal(kind(message(ids.issue('192.0.2.9'), 1, body)), 'expired');
  t.equal(kind(message(ids.issue(ip), 1, body.subarray(1))), 'drop');
  t.equal(kind(message(ids.issue(ip), 7, body)), 'drop');
  t.equal(kind(message(ids.issue(ip), 1, Buffer.alloc(82))), 'invalid', 'port 0');
  t.equal(kind(message(ids.issue(ip), 2, Buffer.alloc(21))), 'invalid');
  t.equal(kind(message(ids.issue(ip), 2, Buffer.alloc(20 * 75))), 'invalid');
  t.equal(kind(message(ids.issue(ip), 2, Buffer.alloc(20 * 74))), 'scrape');
  t.equal(kind(Buffer.alloc(5_000)), 'drop');
  const good = readDatagram(message(ids.issue(ip), 1, body), ip, ids);
  if (good.kind !== 'announce') throw new Error(good.kind);
  t.equal(good.request.ip, ip, 'not the address that it claims');
  t.equal(good.request.left, Number.MAX_SAFE_INTEGER, 'left: more than a number can say');
  t.equal(good.request.numwant, 82);
  t.match(good, { transaction: 0x01020304, request: { port: 6881, event: undefined, libp2p: undefined } });
});

t.test('options of a datagram (BEP 41): the passkey, or none, whatever they are', async (t) => {
  const ids = createConnectionIds(() => 0);
  const body = Buffer.alloc(82);
  body.writeUInt16BE(6881, 80);
  const passkeyIn = (options: Uint8Array): string | undefined => {
    const head = [ids.issue(ip), Buffer.from([0, 0, 0, 1, 1, 2, 3, 4]), body];
    const read = readDatagram(Buffer.concat([...head, options]), ip, ids);
    if (read.kind !== 'announce') throw new Error(read.kind);
    return read.passkey;
  };
  const data = (text: string): number[] => [2, text.length, ...Buffer.from(text)];
  t.equal(passkeyIn(Buffer.from(data('/a?passkey=abc'))), 'abc');
  t.equal(passkeyIn(Buffer.from([1, 1, ...data('/a?pass'), 77, 0, ...data('key=abc&x=1'), 0, 99])), 'abc');
  t.equal(passkeyIn(Buffer.from([...data('/a?passkey=ab'), 2, 9, 99])), 'ab', 'what is cut is not read');
  t.equal(passkeyIn(Buffer.from([0, ...data('/a?passkey=abc')])), undefined);
  t.equal(passkeyIn(Buffer.from(data(`/a?${'x&'.repeat(120)}`))), undefined);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (options) => {
      const passkey = passkeyIn(options);
      if (passkey !== undefined && passkey.length > options.length)
        throw new Error('longer than what it is from');
    }),
    { numRuns: 1_000 },
  );
});

t.test(
  'no datagram throws, and none is answered with more than it brought unless its id is good',
  async (t) => {
    const ids = createConnectionIds(() => 0);
    const header = fc.tuple(
      fc.constantFrom(MAGIC, ids.issue(ip), Buffer.alloc(8)),
      fc.integer({ min: 0, max: 4 }),
    );
    fc.assert(
      fc.property(header, fc.uint8Array({ maxLength: 200 }), ([id, action], rest) => {
        const message = Buffer.concat([id, Buffer.from([0, 0, 0, action]), rest]);
        const { kind } = readDatagram(message, ip, ids);
        if (kind === 'expired' && message.length < 8 + 'connection id expired'.length)
          throw new Error('amplified');
        if (['announce', 'scrape', 'invalid'].includes(kind) && !id.equals(ids.issue(ip)))
          throw new Error(kind);
      }),
      { numRuns: 2_000 },
    );
    t.pass();
  },
);

/** Sends raw bytes to the HTTP listener, and waits for the end of the connection or of an answer. */
async function raw(t: Test, port: number, bytes: string | Uint8Array): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
  });
  socket.end(bytes);
  socket.resume();
  await closed;
}

t.test('a tracker that is sent garbage over both goes on to serve others', async (t) => {
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[infoHash, [{ host: '127.0.0.1', port: 6881 }]]]));
  const port = Number(new URL(tracker.url).port);
  const socket = createSocket('udp4');
  t.teardown(() => socket.close());
  const samples = fc.sample(fc.uint8Array({ maxLength: 300 }), 300);
  for (const bytes of samples) socket.send(bytes, tracker.udp.port, '127.0.0.1');
  for (const bytes of samples.slice(0, 20)) {
    await raw(t, port, bytes);
    await raw(
      t,
      port,
      `GET /announce?${Buffer.from(bytes).toString('base64url')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    );
  }
  await raw(t, port, `GET /announce?x=${'y'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`);
  t.same(await announce(tracker.url, { infoHash, peerId: infoHash, port: 7001 }), ['127.0.0.1:6881']);
  t.equal(tracker.tracker.stats().members, 1);
});
