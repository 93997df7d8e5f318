/** One hostile peer costs itself its connection, and nobody else anything. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { pieceCount } from '#torrent';
import { content } from '../support/content.ts';
import {
  HAVE_ALL,
  handshake,
  INTERESTED,
  message,
  rawConnect,
  rawSeed,
  request,
} from '../support/raw-peer.ts';
import {
  brokenStore,
  makeBlob,
  makeSwarm,
  memoryStore,
  type TestBlob,
  type TestSwarm,
  until,
} from '../support/swarm.ts';

const MIB = 1024 * 1024;

/** Filled in by the test with a handshake that offers no fast extension. */
const SLOW = Buffer.alloc(68);

/** A leecher gets the whole blob from this seeder. */
async function stillServes(t: Test, seeder: TestSwarm, blob: TestBlob): Promise<void> {
  const leecher = await makeSwarm(t);
  const store = memoryStore(blob);
  const download = leecher.download({ metainfo: blob.metainfo, store });
  download.addPeers([{ host: seeder.host, port: seeder.port }]);
  await download.completed;
  t.ok(store.bytes.equals(blob.bytes), 'others are served');
  await leecher.close();
}

/** Local ports on which this very process listens. */
async function listeningPorts(): Promise<number[]> {
  const inodes = new Set<string>();
  for (const fd of await readdir('/proc/self/fd')) {
    const inode = /^socket:\[(\d+)\]$/.exec(await readlink(`/proc/self/fd/${fd}`).catch(() => ''))?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  const ports: number[] = [];
  for (const table of ['tcp', 'tcp6', 'udp', 'udp6']) {
    for (const line of (await readFile(`/proc/self/net/${table}`, 'latin1')).split('\n').slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      const bound = table.startsWith('udp') || state === '0A';
      if (bound && inodes.has(inode ?? '')) ports.push(Number.parseInt(local?.split(':')[1] ?? '', 16));
    }
  }
  return ports;
}

t.test('only the configured port is open', async (t) => {
  const before = await listeningPorts();
  const dialOnly = await makeSwarm(t, { listen: undefined });
  t.equal(dialOnly.address, undefined);
  t.strictSame(await listeningPorts(), before, 'none when we only dial');
  const listening = await makeSwarm(t);
  const opened = (await listeningPorts()).filter((port) => !before.includes(port));
  t.strictSame(opened, [listening.port]);
  const taken = makeSwarm(t, { listen: { host: '127.0.0.1', port: listening.port } });
  await t.rejects(taken, { code: 'EADDRINUSE' });
});

t.test('violations of the protocol', async (t) => {
  const blob = makeBlob(3 * MIB);
  const { infoHash } = blob.metainfo;
  const pieces = pieceCount(blob.metainfo);
  const seeder = await makeSwarm(t);
  seeder.seed(blob);
  const greeting = Buffer.alloc(68);
  const violations: Record<string, readonly Buffer[]> = {
    garbage: [Buffer.alloc(4096, 'GET / HTTP/1.1\r\n')],
    'an unknown infohash': [handshake('00'.repeat(20))],
    'our own peer id': [handshake(infoHash, Buffer.from(seeder.peerId, 'hex').toString('latin1'))],
    'a length of 4 GiB': [greeting, Buffer.from([0xff, 0xff, 0xff, 0xff, 7])],
    'a length of 1 MiB': [greeting, Buffer.from([0, 0x10, 0, 0, 20])],
    'a request beyond the piece': [greeting, INTERESTED, request(0, blob.metainfo.pieceLength - 1, 2)],
    'a request beyond the blob': [greeting, INTERESTED, request(pieces, 0, 16384)],
    'a request of negative length': [greeting, INTERESTED, request(0, 0, -1)],
    'a request of nothing': [greeting, INTERESTED, request(0, 0, 0)],
    'a request of 256 KiB': [greeting, INTERESTED, request(0, 0, 256 * 1024)],
    'a short request': [greeting, message(6, [0, 0])],
    'a long choke': [greeting, message(0, [1])],
    'have beyond the blob': [greeting, message(4, [2 ** 31 - 1])],
    'a negative have': [greeting, message(4, [-1])],
    'a bitfield of the wrong length': [greeting, message(5, [], Buffer.alloc(100))],
    'a bitfield with spare bits': [greeting, message(5, [], Buffer.alloc(Math.ceil(pieces / 8), 0xff))],
    'many bitfields': [greeting, ...Array<Buffer>(500).fill(HAVE_ALL)],
    'reject without the fast extension': [SLOW, message(16, [0, 0, 16384])],
    'a block of 128 KiB': [greeting, message(7, [0, 0], Buffer.alloc(128 * 1024))],
    'blocks that nobody asked for': [
      greeting,
      ...Array<Buffer>(3000).fill(message(7, [0, 0], Buffer.alloc(512))),
    ],
    'a flood of keep-alives': [greeting, Buffer.alloc(400_000)],
    'a flood of have': [greeting, ...Array<Buffer>(50_000).fill(message(4, [0]))],
    'a flood of requests while choked': [greeting, ...Array<Buffer>(50_000).fill(request(0, 0, 16384))],
    'a flood of requests': [greeting, INTERESTED, ...Array<Buffer>(50_000).fill(request(0, 0, 16384))],
    'an extension that was not agreed on': [
      greeting,
      message(20, [], Buffer.from('\x01d8:msg_typei0e5:piecei0ee')),
    ],
    'many unknown messages': [greeting, ...Array<Buffer>(50_000).fill(message(77))],
  };
  let number = 0;
  for (const [name, sent] of Object.entries(violations)) {
    const peer = await rawConnect(t, seeder);
    // Each has a peer id of its own: it must be cut for this violation, not banned for an earlier one.
    number += 1;
    const peerId = `-XX0000-violation${String(number).padStart(3, '0')}`;
    if (sent[0] === greeting) handshake(infoHash, peerId).copy(greeting);
    if (sent[0] === SLOW) handshake(infoHash, peerId, false).copy(SLOW);
    peer.send(Buffer.concat(sent));
    await peer.ended();
    t.pass(name);
  }
  await stillServes(t, seeder, blob);
  await until(() => seeder.peers().length === 0 && seeder.heard.connected === seeder.heard.disconnected);
  t.equal(seeder.heard.unreadable.length, 0);
});

t.test('a misbehaving peer id is refused for a while', async (t) => {
  const blob = makeBlob(MIB);
  const seeder = await makeSwarm(t);
  seeder.seed(blob);
  const bad = await rawConnect(t, seeder);
  bad.send(Buffer.concat([handshake(blob.metainfo.infoHash, '-XX0000-mischievous1'), message(4, [999])]));
  await bad.ended();
  const again = await rawConnect(t, seeder);
  again.send(handshake(blob.metainfo.infoHash, '-XX0000-mischievous1'));
  await again.ended();
  t.equal(again.messages.length, 0, 'not even a handshake came back');
  const good = await rawConnect(t, seeder);
  good.send(Buffer.concat([handshake(blob.metainfo.infoHash, '-XX0000-honestpeer01'), INTERESTED]));
  await good.message(1);
});

t.test('a handshake that never ends and one that is cut', async (t) => {
  const blob = makeBlob(MIB);
  const seeder = await makeSwarm(t);
  seeder.seed(blob);
  const cut = await rawConnect(t, seeder);
  cut.socket.end(handshake(blob.metainfo.infoHash).subarray(0, 40));
  await cut.ended();
  const slow = await rawConnect(t, seeder);
  const greeting = handshake(blob.metainfo.infoHash);
  let sent = 0;
  const drip = setInterval(() => slow.send(greeting.subarray(sent, ++sent)), 300);
  t.teardown(() => clearInterval(drip));
  await stillServes(t, seeder, blob);
  await slow.ended();
  t.ok(sent < greeting.length, 'cut before it was through');
});

t.test('answers that are never read do not fill our memory', async (t) => {
  const blob = makeBlob(8 * MIB);
  const seeder = await makeSwarm(t);
  const store = memoryStore(blob, 'all');
  seeder.seed(blob, store);
  const peer = await rawConnect(t, seeder);
  peer.send(Buffer.concat([handshake(blob.metainfo.infoHash), INTERESTED]));
  await peer.message(1);
  peer.socket.pause();
  for (let block = 0; block < 500; block++)
    peer.send(request(Math.floor(block / 16), (block % 16) * 16384, 16384));
  await stillServes(t, seeder, blob);
  const sent = seeder.peers().find((p) => p.address.endsWith(`:${peer.socket.localPort}`))?.bytesOut ?? 0;
  t.ok(sent > 0 && sent < 7.5 * MIB, `what the kernel does not take is not even read (${sent})`);
  peer.socket.resume();
  await peer.message(7, 500);
  t.pass('and all of it comes once the peer reads again');
});

t.test('messages may be cut anywhere', async (t) => {
  const blob = makeBlob(MIB);
  const seeder = await makeSwarm(t);
  seeder.seed(blob);
  const peer = await rawConnect(t, seeder);
  peer.socket.setNoDelay(true);
  const sent = Buffer.concat([handshake(blob.metainfo.infoHash), INTERESTED]);
  for (const byte of sent) await new Promise((resolve) => peer.socket.write(Buffer.of(byte), resolve));
  await peer.message(1);
  for (const byte of request(1, 16384, 16384)) {
    await new Promise((resolve) => peer.socket.write(Buffer.of(byte), resolve));
  }
  const { payload } = await peer.message(7);
  const at = blob.metainfo.pieceLength + 16384;
  t.ok(payload.subarray(8).equals(blob.bytes.subarray(at, at + 16384)));
});

t.test('random messages', async (t) => {
  const blob = makeBlob(2 * MIB);
  const seeder = await makeSwarm(t);
  seeder.seed(blob);
  const noise = [...content(7, 200_000)][0] ?? Buffer.alloc(0);
  let at = 0;
  const take = (bytes: number): Buffer => {
    at += bytes;
    return noise.subarray(at - bytes, at);
  };
  const peers = [];
  for (let n = 0; n < 60; n++) {
    const peer = await rawConnect(t, seeder);
    peer.send(handshake(blob.metainfo.infoHash, `-XX0000-noise${String(n).padStart(7, '0')}`));
    for (let m = 0; m < 20; m++) {
      const id = take(1)[0] ?? 0;
      peer.send(message(id % 24, id % 3 === 0 ? [id % 8, 0, 16384] : [], take(id % 100)));
    }
    peers.push(peer);
  }
  await stillServes(t, seeder, blob);
  for (const peer of peers) peer.socket.end();
  await Promise.all(peers.map((peer) => peer.ended()));
});

t.test('a look-up that fails costs the one connection', async (t) => {
  const blob = makeBlob(MIB);
  let broken = true;
  const seeder = await makeSwarm(t, {
    lookup: async () => {
      if (broken) throw new Error('the index cannot be read');
      return { metainfo: blob.metainfo, store: memoryStore(blob, 'all') };
    },
  });
  const peer = await rawConnect(t, seeder);
  peer.send(handshake(blob.metainfo.infoHash));
  await peer.ended();
  broken = false;
  await stillServes(t, seeder, blob);
});

t.test('connections are bounded', async (t) => {
  const blob = makeBlob(MIB);
  const seeder = await makeSwarm(t, { maxConnections: 4 });
  seeder.seed(blob);
  const peers = [];
  for (let n = 0; n < 4; n++) {
    const peer = await rawConnect(t, seeder);
    peer.send(Buffer.concat([handshake(blob.metainfo.infoHash, `-XX0000-crowd${n}abcdef`), INTERESTED]));
    await peer.message(1);
    peers.push(peer);
  }
  const fifth = await rawConnect(t, seeder);
  await fifth.ended();
  t.equal(seeder.peers().length, 4);
  peers[0]?.socket.destroy();
  await until(() => seeder.peers().length === 3);
  await stillServes(t, seeder, blob);
});

t.test('many handshakes at once look a blob up once', async (t) => {
  const blob = makeBlob(MIB);
  const seeder = await makeSwarm(t);
  seeder.seed(blob);
  const peers = await Promise.all(Array.from({ length: 10 }, () => rawConnect(t, seeder)));
  for (const [n, peer] of peers.entries()) {
    peer.send(Buffer.concat([handshake(blob.metainfo.infoHash, `-XX0000-many${n}abcdefg`), INTERESTED]));
  }
  await Promise.all(peers.map((peer) => peer.message(1)));
  t.equal(seeder.lookups, 1);
});

t.test('a blob that is released while it is being opened is not seeded', async (t) => {
  const blob = makeBlob(MIB);
  const store = memoryStore(blob, 'all');
  const looked = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const seeder = await makeSwarm(t, {
    lookup: async () => {
      looked.resolve();
      await goOn.promise;
      return { metainfo: blob.metainfo, store };
    },
  });
  const peer = await rawConnect(t, seeder);
  peer.send(handshake(blob.metainfo.infoHash));
  await looked.promise;
  await seeder.release(blob.metainfo.infoHash);
  goOn.resolve();
  await peer.ended();
  t.equal(store.closed, 1);
  t.equal(seeder.openBlobs(), 0);
});

t.test('a seed that cannot be read is given up and reported', async (t) => {
  const blob = makeBlob(2 * MIB);
  const seeder = await makeSwarm(t);
  const good = await makeSwarm(t);
  const leecher = await makeSwarm(t);
  const store = memoryStore(blob, 'all');
  const gone = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
  const broken = brokenStore(store, { read: () => Promise.reject(gone) });
  const closed = Promise.withResolvers<void>();
  seeder.seed(blob, { ...broken, close: async () => closed.resolve() });
  const leeching = memoryStore(blob);
  const download = leecher.download({ metainfo: blob.metainfo, store: leeching });
  download.addPeers([{ host: seeder.host, port: seeder.port }]);
  await closed.promise;
  t.strictSame(seeder.heard.unreadable, [gone], 'told once');
  t.equal(seeder.openBlobs(), 0);
  good.seed(blob);
  download.addPeers([{ host: good.host, port: good.port }]);
  await download.completed;
  t.ok(leeching.bytes.equals(blob.bytes));
});

t.test('a seed that rejects everything is asked a bounded number of times', async (t) => {
  const blob = makeBlob(4 * MIB);
  const leecher = await makeSwarm(t);
  const good = await makeSwarm(t);
  const rejecting = await rawSeed(t, blob.metainfo, ({ piece, offset, length }) =>
    message(16, [piece, offset, length]),
  );
  const store = memoryStore(blob);
  const download = leecher.download({ metainfo: blob.metainfo, store });
  download.addPeers([{ host: rejecting.host, port: rejecting.port }]);
  await until(() => leecher.heard.connected > 0 && leecher.heard.connected === leecher.heard.disconnected);
  await until(() => download.stats().unavailablePieces === pieceCount(blob.metainfo));
  t.ok(rejecting.requests < 2000, `${rejecting.requests} requests`);
  good.seed(blob);
  download.addPeers([{ host: good.host, port: good.port }]);
  await download.completed;
  t.ok(store.bytes.equals(blob.bytes));
  t.equal(rejecting.connections, 1, 'it was not dialled again');
});

t.test('a member that sends bad pieces is banned and the download completes', async (t) => {
  const blob = makeBlob(12 * MIB);
  const good = await makeSwarm(t, { uploadRateBytesPerSecond: 4 * MIB });
  const leecher = await makeSwarm(t);
  good.seed(blob);
  const garbage = Buffer.alloc(16384, 0x55);
  const bad = await rawSeed(t, blob.metainfo, ({ piece, offset, length }) =>
    message(7, [piece, offset], garbage.subarray(0, length)),
  );
  const store = memoryStore(blob);
  const download = leecher.download({ metainfo: blob.metainfo, store });
  download.addPeers([
    { host: bad.host, port: bad.port },
    { host: good.host, port: good.port },
  ]);
  await download.completed;
  t.ok(store.bytes.equals(blob.bytes), 'no bad byte was stored');
  t.ok(leecher.heard.rejected.length >= 1);
  t.ok(
    leecher.heard.rejected.length < pieceCount(blob.metainfo),
    `${leecher.heard.rejected.length} pieces rejected`,
  );
  t.equal(bad.connections, 1, 'banned, not dialled again');
  t.notOk(
    leecher.peers().some((peer) => peer.address === `${bad.host}:${bad.port}`),
    'and cut',
  );
});

t.test('a member that spoils pieces which others fill too is found out', async (t) => {
  const blob = makeBlob(12 * MIB);
  const { pieceLength } = blob.metainfo;
  const good = await makeSwarm(t, { uploadRateBytesPerSecond: 4 * MIB });
  const leecher = await makeSwarm(t);
  good.seed(blob);
  // Every block is right but the last of each piece.
  const sly = await rawSeed(t, blob.metainfo, ({ piece, offset, length }) => {
    const at = piece * pieceLength + offset;
    const block = Buffer.from(blob.bytes.subarray(at, at + length));
    if (offset + length === pieceLength) block.fill(0);
    return message(7, [piece, offset], block);
  });
  const store = memoryStore(blob);
  const download = leecher.download({ metainfo: blob.metainfo, store });
  download.addPeers([
    { host: good.host, port: good.port },
    { host: sly.host, port: sly.port },
  ]);
  await download.completed;
  t.ok(store.bytes.equals(blob.bytes));
  t.ok(leecher.heard.rejected.length >= 1);
  t.equal(sly.connections, 1, 'banned');
  const honest = leecher.peers().find((peer) => peer.address === `${good.host}:${good.port}`);
  t.ok((honest?.bytesIn ?? leecher.heard.inFrom.agent) > 0, 'the honest one was not');
});

t.test('a member that falls silent does not hold the download up', async (t) => {
  const blob = makeBlob(4 * MIB);
  const good = await makeSwarm(t);
  const leecher = await makeSwarm(t);
  good.seed(blob);
  const silent = await rawSeed(t, blob.metainfo, () => undefined);
  const store = memoryStore(blob);
  const download = leecher.download({ metainfo: blob.metainfo, store });
  download.addPeers([{ host: silent.host, port: silent.port }]);
  await until(() => silent.requests > 0);
  download.addPeers([{ host: good.host, port: good.port }]);
  await download.completed;
  t.ok(store.bytes.equals(blob.bytes));
});

t.test('a process that closes its swarms ends by itself', async (t) => {
  const support = new URL('../support/swarm.ts', import.meta.url).href;
  const script = `
    const { makeBlob, makeSwarm, memoryStore } = await import(${JSON.stringify(support)});
    const t = { teardown() {} };
    const blob = makeBlob(2 * 1024 * 1024);
    const [a, b] = [await makeSwarm(t), await makeSwarm(t)];
    a.seed(blob);
    const download = b.download({ metainfo: blob.metainfo, store: memoryStore(blob) });
    download.addPeers([{ host: a.host, port: a.port }, { host: '127.0.0.1', port: 1 }]);
    await download.completed;
    download.seedFrom(memoryStore(blob, 'all'));
    const stuck = b.download({ metainfo: makeBlob(1024 * 1024).metainfo, store: memoryStore(makeBlob(1024 * 1024)) });
    await Promise.all([a.close(), b.close()]);
    await stuck.completed.catch(() => console.log('ended'));
  `;
  const child = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    timeout: 60_000,
  });
  await once(child.child, 'spawn');
  t.equal((await child).stdout, 'ended\n');
});
