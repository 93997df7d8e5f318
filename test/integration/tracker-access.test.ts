/** Passkeys at a tracker that runs alone, and over UDP (BEP 41): only who may pull a blob hears of its swarm. */
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { on } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { resolveOptions } from '#config';
import { formatHostPort, type HostPort } from '#http';
import { originOptions } from '#origin/options';
import { createMetrics } from '#telemetry';
import { type InfoHash, parseMetainfo } from '#torrent';
import { startTracker, type TrackerConfig } from '#tracker';
import { trackerConfig, trackerOptions } from '#tracker/options';
import { udpTarget } from '../../src/discovery/udp-announce.ts';
import { accessOf, basic } from '../support/access.ts';
import { pushBlob, type TestOrigin, temporaryFolder, testOrigin } from '../support/origin.ts';
import { freePort } from '../support/ports.ts';
import { announce, log, randomInfoHash } from '../support/tracker.ts';

// Log-ins on a busy machine.
t.setTimeout(120_000);

const loopback = { host: '127.0.0.1', port: 0 };
const [ANN, NODES] = [['ann', 'reads'] as const, ['nodes', 'join'] as const];
const RULES = ['subject=user:ann repositories=team/** actions=push', 'subject=user:nodes actions=join'];
const PASSKEY = /the passkey is missing, expired or not for this blob/;

interface Guarded {
  readonly origin: TestOrigin;
  /** The infohash of a new blob of ann's, and the passkey of her .torrent. */
  blob(): Promise<{
    readonly infoHash: InfoHash;
    readonly passkey: string;
    readonly announce: readonly string[];
  }>;
}

async function guarded(t: Test, trackers: readonly string[] = []): Promise<Guarded> {
  const { access } = await accessOf(await temporaryFolder(t), Object.fromEntries([ANN, NODES]), RULES);
  const real = await testOrigin(t, { access, udpListen: loopback, trackers });
  const headers = basic(...ANN);
  const origin: TestOrigin = {
    ...real,
    call: (method, where, options) => real.call(method, where, { headers, ...options }),
  };
  return {
    origin,
    async blob() {
      const digest = await pushBlob(origin, 'team/app', randomBytes(1000));
      const torrent = await origin.call('GET', `/v2/team/app/_shoal/torrents/${digest}`);
      const { infoHash, sources } = parseMetainfo(torrent.body);
      const keys = sources.announce.map((url) => new URL(url).searchParams.get('passkey'));
      t.equal(keys.length, 2 + trackers.length, 'HTTP and UDP');
      t.equal(new Set(keys).size, 1);
      return { infoHash, passkey: keys[0] ?? '', announce: sources.announce };
    },
  };
}

async function alone(t: Test, config: Partial<TrackerConfig>) {
  const tracker = await startTracker(
    { listen: loopback, udpListen: loopback, origins: [], ...config },
    { log, metrics: createMetrics() },
  );
  t.teardown(() => tracker.close());
  if (!tracker.udpAddress) throw new Error('no UDP');
  return { url: `http://${formatHostPort(tracker.address)}`, udp: tracker.udpAddress };
}

/** Always the same, so that no answer names an earlier caller. */
const PEER_ID = randomBytes(20);
const asNodes = { credentialsFor: () => ({ username: NODES[0], password: NODES[1] }) };

function overHttp(url: string, infoHash: InfoHash, passkey?: string): Promise<string[]> {
  const more = passkey === undefined ? '' : `&passkey=${passkey}`;
  return announce(url, { infoHash, peerId: PEER_ID.toString('hex'), port: 7001, more });
}

/** Options of BEP 41 that carry this path in pieces, after a byte of no operation. */
function urlData(text: string, piece = 255): Buffer {
  const parts = [];
  for (let at = 0; at < text.length; at += piece) {
    const bytes = Buffer.from(text.slice(at, at + piece));
    parts.push(Buffer.from([2, bytes.length]), bytes);
  }
  return Buffer.concat([Buffer.from([1]), ...parts, Buffer.from([0])]);
}

/** Connects and announces as BEP 15 has it; answers with the error's text, or with the number of peers. */
async function overUdp(
  t: Test,
  to: HostPort,
  infoHash: InfoHash,
  options: Uint8Array,
): Promise<string | number> {
  const socket = createSocket('udp4');
  t.teardown(() => socket.close());
  const ask = async (message: Buffer): Promise<Buffer> => {
    // A datagram may be lost on a machine that is busy.
    const again = setInterval(() => socket.send(message, to.port, to.host), 2_000);
    socket.send(message, to.port, to.host);
    try {
      for await (const [answer] of on(socket, 'message') as AsyncIterable<[Buffer]>) {
        if (answer.readUInt32BE(4) === message.readUInt32BE(12)) return answer;
      }
    } finally {
      clearInterval(again);
    }
    throw new Error('no answer');
  };
  const connect = Buffer.from('000004172710198000000000aabbccdd', 'hex');
  const id = (await ask(connect)).subarray(8, 16);
  const body = Buffer.alloc(98);
  id.copy(body);
  body.writeUInt32BE(1, 8);
  body.writeUInt32BE(7, 12);
  Buffer.from(infoHash, 'hex').copy(body, 16);
  PEER_ID.copy(body, 36);
  body.writeBigUInt64BE(1n, 64);
  body.writeInt32BE(-1, 92);
  body.writeUInt16BE(7001, 96);
  const answer = await ask(Buffer.concat([body, options]));
  return answer.readUInt32BE(0) === 3 ? answer.toString('utf8', 8) : (answer.length - 20) / 6;
}

t.test('a tracker alone asks the origin whom a passkey lets in', async (t) => {
  const { origin, blob } = await guarded(t);
  const { infoHash, passkey } = await blob();
  const other = await blob();
  const password = path.join(await temporaryFolder(t), 'password');
  await writeFile(password, `${NODES[1]}\n`);
  const flags = {
    ...{ origin: [origin.url], listen: ['127.0.0.1:0'], 'udp-listen': ['127.0.0.1:0'] },
    ...{ 'auth-username': [NODES[0]], 'auth-password-file': [password] },
  };
  const { url } = await alone(t, trackerConfig(resolveOptions(trackerOptions, { flags }).values));
  t.equal((await overHttp(url, infoHash, passkey)).length, 1, 'the origin itself');
  await t.rejects(overHttp(url, infoHash), PASSKEY);
  await t.rejects(overHttp(url, infoHash, other.passkey), PASSKEY);
  await t.rejects(overHttp(url, infoHash, 'x'.repeat(2_000)), PASSKEY);
  await t.rejects(overHttp(url, infoHash, `${passkey}%20a`), PASSKEY);
  await t.rejects(overHttp(url, randomInfoHash()), PASSKEY, 'as for a blob that is there');
  const scrape = await fetch(`${url}/scrape?info_hash=${infoHash.replace(/../g, '%$&')}&passkey=${passkey}`);
  t.match(await scrape.text(), /5:files/);
});

t.test('an origin names trackers that run alone in its torrents, with the passkey', async (t) => {
  const port = await freePort();
  const { origin, blob } = await guarded(t, [`http://127.0.0.1:${port}`, `udp://127.0.0.1:${port}`]);
  await alone(t, { origins: [origin.url], ...asNodes, listen: { host: '127.0.0.1', port } });
  const { infoHash, passkey, announce: urls } = await blob();
  const place = `127.0.0.1:${port}/announce?passkey=${passkey}`;
  t.same(urls.slice(2), [`http://${place}`, `udp://${place}`]);
  t.equal((await overHttp(`http://127.0.0.1:${port}`, infoHash, passkey)).length, 1);
});

t.test('what names a tracker, and what does not', async (t) => {
  const read = (text: string): readonly string[] =>
    resolveOptions(originOptions, { flags: { tracker: [text] } }).values.tracker;
  for (const text of ['http://t:6969', 'https://t.example', 'udp://t:6969', 'udp://[::1]:6969']) {
    t.same(read(text), [text]);
    t.same(read(`${text}/`), [text]);
  }
  for (const text of [
    't:6969',
    'ftp://t',
    'udp://t',
    'http://',
    'http://t/announce',
    'http://t?x',
    'udp://a:b@t:1',
  ]) {
    t.throws(() => read(text), /tracker: .*expected a tracker such as/, text);
  }
});

t.test('without the right to join the tracker tells nobody anything', async (t) => {
  const { origin, blob } = await guarded(t);
  const { infoHash, passkey } = await blob();
  for (const config of [{}, { credentialsFor: () => ({ username: ANN[0], password: ANN[1] }) }]) {
    const { url } = await alone(t, { origins: [origin.url], ...config });
    await t.rejects(overHttp(url, infoHash, passkey), /cannot be asked now/);
  }
});

t.test('an origin without access control does not open what another one holds', async (t) => {
  const { origin, blob } = await guarded(t);
  const { infoHash, passkey } = await blob();
  const open = await testOrigin(t);
  const bytes = randomBytes(1000);
  const digest = await pushBlob(open, 'free/app', bytes);
  const torrent = await open.call('GET', `/v2/free/app/_shoal/torrents/${digest}`);
  const free = parseMetainfo(torrent.body).infoHash;
  for (const origins of [
    [origin.url, open.url],
    [open.url, origin.url],
  ]) {
    const { url } = await alone(t, { origins, ...asNodes });
    await t.rejects(overHttp(url, infoHash), PASSKEY);
    t.equal((await overHttp(url, infoHash, passkey)).length, 1);
    t.equal((await overHttp(url, free)).length, 1, 'what is open needs none');
  }
});

t.test("UDP: a member's own announces carry the passkey of their URL", async (t) => {
  const { origin, blob } = await guarded(t);
  const { infoHash, passkey, announce } = await blob();
  const url = announce.find((each) => each.startsWith('udp:')) ?? '';
  const self = { peerId: randomBytes(20).toString('hex'), address: { port: 6881 } };
  const ask = (at: string) =>
    udpTarget(at, self).announce({ infoHash, left: 1 }, AbortSignal.timeout(30_000));
  t.equal((await ask(url)).peers.length, 1, 'the origin itself');
  await t.rejects(ask(url.replace(passkey, '')), PASSKEY);
  await t.rejects(ask(url.replace(/\?.*/, '')), PASSKEY);
  t.equal(await origin.metric('shoal_tracker_announces_total', { protocol: 'udp', result: 'ok' }), 1);
});

t.test('UDP: the passkey of the URL that a client repeats behind its announce', async (t) => {
  const { origin, blob } = await guarded(t);
  const { infoHash, passkey } = await blob();
  const standalone = await alone(t, { origins: [origin.url], ...asNodes });
  const embedded = origin.origin.udpAddress;
  if (embedded === undefined) throw new Error('no UDP');
  const place = `/announce?passkey=${passkey}`;
  for (const to of [embedded, standalone.udp]) {
    t.equal(await overUdp(t, to, infoHash, urlData(place)), 1, 'the origin itself');
    t.equal(await overUdp(t, to, infoHash, urlData(place, 10)), 1, 'in pieces');
    const unknown = Buffer.concat([Buffer.from([9, 2, 0, 0]), urlData(place)]);
    t.equal(await overUdp(t, to, infoHash, unknown), 1, 'after an option of tomorrow');
    for (const options of [
      Buffer.alloc(0),
      urlData('/announce'),
      urlData(place).subarray(0, 40),
      Buffer.concat([Buffer.from([0]), urlData(place)]),
      urlData(`${place}x`),
    ]) {
      t.match(await overUdp(t, to, infoHash, options), PASSKEY);
    }
  }
});
