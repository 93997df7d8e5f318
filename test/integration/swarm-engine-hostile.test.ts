/** Members that break the protocol, lie or send garbage: they alone suffer. */
import net from 'node:net';
import t, { type Test } from 'tap';
import { createSwarm, type Swarm, type SwarmOptions } from '#swarm';
import { type InfoHash, pieceSize } from '#torrent';
import {
  type Counts,
  countingObserver,
  LOOPBACK,
  type MemoryStore,
  makeBlob,
  memoryStore,
  quiet,
  type TestBlob,
  until,
} from './swarm-support.ts';

async function member(
  test: Test,
  seeds: readonly TestBlob[] = [],
  options: Partial<SwarmOptions> = {},
): Promise<{ swarm: Swarm; counts: Counts }> {
  const counts = countingObserver();
  const swarm = await createSwarm({
    listen: LOOPBACK,
    lookup: async (infoHash) => {
      const blob = seeds.find(({ metainfo }) => metainfo.infoHash === infoHash);
      return blob && { metainfo: blob.metainfo, store: memoryStore(blob.metainfo, blob.bytes) };
    },
    observer: counts.observer,
    log: quiet,
    ...options,
  });
  test.teardown(() => swarm.close());
  return { swarm, counts };
}

function portOf(swarm: Swarm): number {
  if (swarm.address === undefined) throw new Error('does not listen');
  return swarm.address.port;
}

function handshake(infoHash: InfoHash, peerId = '-XX0000-000000000000'): Buffer {
  return Buffer.concat([
    Buffer.from('\x13BitTorrent protocol', 'latin1'),
    Buffer.from([0, 0, 0, 0, 0, 0x10, 0, 0x04]),
    Buffer.from(infoHash, 'hex'),
    Buffer.from(peerId),
  ]);
}

function message(id: number, ...fields: number[]): Buffer {
  const bytes = Buffer.alloc(5 + 4 * fields.length);
  bytes.writeUInt32BE(bytes.length - 4, 0);
  bytes[4] = id;
  fields.forEach((field, index) => {
    bytes.writeUInt32BE(field, 5 + 4 * index);
  });
  return bytes;
}

/** A raw client; resolves with all that it received once the other side ended the connection. */
function raw(test: Test, port: number, send: (socket: net.Socket) => void): Promise<Buffer> {
  return new Promise((resolve) => {
    const received: Buffer[] = [];
    const socket = net.connect({ port, host: '127.0.0.1' }, () => send(socket));
    socket.on('data', (chunk: Buffer) => received.push(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(Buffer.concat(received)));
    test.teardown(() => socket.destroy());
  });
}

t.test('who breaks the protocol is closed, the others go on', async (t) => {
  const blob = makeBlob(3_000_000);
  const seed = await member(t, [blob], { uploadRateBytesPerSecond: 3_000_000 });
  const leech = await member(t);
  const store = memoryStore(blob.metainfo);
  const download = leech.swarm.download({ metainfo: blob.metainfo, store });
  download.addPeers([{ host: '127.0.0.1', port: portOf(seed.swarm) }]);
  const { infoHash } = blob.metainfo;
  const port = portOf(seed.swarm);
  const hello = handshake(infoHash);
  const huge = Buffer.from([0xff, 0xff, 0xff, 0xff, 7]);
  const unasked = Buffer.concat([message(7, 0, 0), Buffer.alloc(16_384)]);
  unasked.writeUInt32BE(16_384 + 9, 0);
  const attacks: [string, (socket: net.Socket) => void][] = [
    ['garbage', (socket) => socket.write(Buffer.alloc(100, 0x47))],
    ['another protocol', (socket) => socket.write('GET / HTTP/1.1\r\n\r\n')],
    ['an unknown blob', (socket) => socket.write(handshake('ab'.repeat(20) as InfoHash))],
    ['a huge length', (socket) => socket.write(Buffer.concat([hello, huge]))],
    ['a piece that does not exist', (socket) => socket.write(Buffer.concat([hello, message(4, 9_999)]))],
    ['a request outside', (socket) => socket.write(Buffer.concat([hello, message(6, 0, 262_144, 16_384)]))],
    [
      'many bitfields',
      (socket) => socket.write(Buffer.concat([hello, ...Array.from({ length: 1_000 }, () => message(15))])),
    ],
    [
      'a flood of refused requests',
      (socket) => {
        const flood = Buffer.concat([
          hello,
          ...Array.from({ length: 20_000 }, () => message(6, 0, 0, 16_384)),
        ]);
        socket.write(flood);
      },
    ],
    [
      'a flood of requests',
      (socket) => {
        socket.write(Buffer.concat([hello, message(2)]));
        socket.once('data', () => {
          setTimeout(() => {
            for (let turn = 0; turn < 50; turn++) {
              socket.write(Buffer.concat(Array.from({ length: 1_000 }, () => message(6, 0, 0, 16_384))));
            }
          }, 100);
          socket.pause();
          setTimeout(() => socket.resume(), 1_000);
        });
      },
    ],
    ['a flood of keep-alives', (socket) => socket.write(Buffer.concat([hello, Buffer.alloc(4 * 20_000)]))],
    [
      'a flood of small messages',
      (socket) =>
        socket.write(
          Buffer.concat([hello, ...Array.from({ length: 20_000 }, (_, at) => message(2 + (at & 1)))]),
        ),
    ],
    [
      'blocks that nobody asked for',
      (socket) => {
        socket.write(hello);
        for (let turn = 0; turn < 2_000; turn++) socket.write(unasked);
      },
    ],
    [
      'a broken extended handshake',
      (socket) => {
        const payload = Buffer.from('\x00d1:md');
        const header = Buffer.alloc(5);
        header.writeUInt32BE(payload.length + 1, 0);
        header[4] = 20;
        socket.write(Buffer.concat([hello, header, payload]));
      },
    ],
  ];
  const ended = await Promise.all(
    attacks.map(async ([name, attack], index) => {
      const id = `-XX0000-${String(index).padStart(12, '0')}`;
      await raw(t, port, (socket) => {
        const write = socket.write.bind(socket);
        // Each attacker has its own peer id.
        attack(
          Object.assign(socket, {
            write: (bytes: Buffer | string) => {
              if (Buffer.isBuffer(bytes) && bytes.length >= 68 && bytes[0] === 19) bytes.write(id, 48);
              return write(bytes);
            },
          }),
        );
      });
      return name;
    }),
  );
  t.equal(ended.length, attacks.length);
  await download.completed;
  t.ok(store.bytes.equals(blob.bytes));
});

t.test(
  'a silent connection is closed at the handshake deadline, and many do not stop the others',
  async (t) => {
    const blob = makeBlob(300_000);
    const seed = await member(t, [blob], { maxConnections: 30 });
    const silent = Array.from({ length: 20 }, () => raw(t, portOf(seed.swarm), () => undefined));
    const leech = await member(t);
    const store = memoryStore(blob.metainfo);
    const download = leech.swarm.download({ metainfo: blob.metainfo, store });
    download.addPeers([{ host: '127.0.0.1', port: portOf(seed.swarm) }]);
    await download.completed;
    await Promise.all(silent);
  },
);

/** A member that speaks well and sends garbage for some blocks. */
async function liar(
  test: Test,
  blob: TestBlob,
  bad: (position: number) => boolean,
): Promise<{ swarm: Swarm; counts: Counts }> {
  return member(test, [], {
    lookup: async () => {
      const store: MemoryStore = memoryStore(blob.metainfo, blob.bytes);
      const read = store.read.bind(store);
      store.read = async (position, into) => {
        await read(position, into);
        for (let at = 0; at < into.length; at += 16_384)
          if (bad(position + at)) into[at] = (into[at] ?? 0) ^ 0xff;
      };
      return { metainfo: blob.metainfo, store };
    },
  });
}

t.test('bad pieces in a swarm of five: no bad byte, the liar is banned', async (t) => {
  const blob = makeBlob(6_000_000);
  const seed = await member(t, [blob]);
  const bad = await liar(t, blob, () => true);
  const leeches = await Promise.all([member(t), member(t), member(t)]);
  const everybody = [seed, bad, ...leeches];
  const downloads = leeches.map((one) => {
    const store = memoryStore(blob.metainfo);
    const download = one.swarm.download({ metainfo: blob.metainfo, store });
    download.addPeers(
      everybody
        .filter((other) => other !== one)
        .map(({ swarm }) => ({ host: '127.0.0.1', port: portOf(swarm) })),
    );
    return { download, store };
  });
  await Promise.all(downloads.map(({ download }) => download.completed));
  for (const { store } of downloads) t.ok(store.bytes.equals(blob.bytes));
  const badPort = `127.0.0.1:${portOf(bad.swarm)}`;
  for (const one of leeches) {
    t.ok(one.counts.rejected.length > 0);
    t.notOk(
      one.swarm.peers().some((peer) => peer.address === badPort),
      'not connected to the liar',
    );
  }
});

t.test('one bad block among many senders is traced to its sender', async (t) => {
  const blob = makeBlob(4_000_000);
  const good = await Promise.all([member(t, [blob]), member(t, [blob]), member(t, [blob])]);
  const bad = await liar(t, blob, (position) => position % 65_536 === 0);
  const leech = await member(t);
  const store = memoryStore(blob.metainfo);
  const download = leech.swarm.download({ metainfo: blob.metainfo, store });
  download.addPeers([...good, bad].map(({ swarm }) => ({ host: '127.0.0.1', port: portOf(swarm) })));
  await download.completed;
  t.ok(store.bytes.equals(blob.bytes));
  // Whether the liar got to send anything is up to chance; what must not happen is that a good member is banned.
  const badPort = `127.0.0.1:${portOf(bad.swarm)}`;
  if (bad.counts.out > 0 && leech.counts.rejected.length > 0) {
    await until(() => !leech.swarm.peers().some((peer) => peer.address === badPort), 'the ban');
  }
});

t.test(
  'a member that claims pieces and refuses or never sends them does not hold the download up',
  async (t) => {
    const blob = makeBlob(2_000_000);
    const seed = await member(t, [blob], { uploadRateBytesPerSecond: 2_000_000 });
    const { infoHash } = blob.metainfo;
    const sockets = new Set<net.Socket>();
    const fake = (refuses: boolean, id: string): Promise<number> =>
      new Promise((resolve) => {
        const server = net.createServer((socket) => {
          sockets.add(socket);
          socket.on('error', () => undefined);
          socket.write(Buffer.concat([handshake(infoHash, id), message(14), message(1)]));
          let early = Buffer.alloc(0);
          socket.on('data', (chunk: Buffer) => {
            early = Buffer.concat([early, chunk]);
            if (!refuses || early.length < 68) return;
            for (let at = 68; at + 17 <= early.length; at++) {
              if (early.readUInt32BE(at) === 13 && early[at + 4] === 6) {
                const reject = Buffer.from(early.subarray(at, at + 17));
                reject[4] = 16;
                socket.write(reject);
              }
            }
            early = early.subarray(0, 68);
          });
        });
        test.teardown(() => server.close());
        server.listen(0, '127.0.0.1', () => {
          const address = server.address();
          resolve(typeof address === 'object' && address !== null ? address.port : 0);
        });
      });
    const test = t;
    t.teardown(() => {
      for (const socket of sockets) socket.destroy();
    });
    const ports = [await fake(true, '-XX0000-refuserefuse'), await fake(false, '-XX0000-silentsilent')];
    const leech = await member(t);
    const store = memoryStore(blob.metainfo);
    const download = leech.swarm.download({ metainfo: blob.metainfo, store });
    download.addPeers([...ports, portOf(seed.swarm)].map((port) => ({ host: '127.0.0.1', port })));
    await download.completed;
    t.ok(store.bytes.equals(blob.bytes));
  },
);

t.test('metadata is given to a client that has only a magnet link', async (t) => {
  const blob = makeBlob(300_000);
  const seed = await member(t, [blob]);
  const extended = Buffer.from('\x00d1:md11:ut_metadatai7eee');
  const request = Buffer.from('\x01d8:msg_typei0e5:piecei0ee');
  const framed = (payload: Buffer): Buffer => {
    const header = Buffer.alloc(5);
    header.writeUInt32BE(payload.length + 1, 0);
    header[4] = 20;
    return Buffer.concat([header, payload]);
  };
  let received = Buffer.alloc(0);
  const socket = net.connect(portOf(seed.swarm), '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
  });
  socket.write(Buffer.concat([handshake(blob.metainfo.infoHash), framed(extended), framed(request)]));
  await until(() => received.includes(Buffer.from(blob.metainfo.info)), 'the info dictionary');
  t.ok(received.includes('ut_metadata'));
});

t.test('rates hold within five per cent, and peers share evenly', async (t) => {
  const blob = makeBlob(8_000_000);
  const seed = await member(t, [blob], { uploadRateBytesPerSecond: 4_000_000 });
  const leeches = await Promise.all([
    member(t, [], { listen: undefined }),
    member(t, [], { listen: undefined }),
  ]);
  const started = performance.now();
  const downloads = leeches.map(({ swarm }) => {
    const download = swarm.download({ metainfo: blob.metainfo, store: memoryStore(blob.metainfo) });
    download.addPeers([{ host: '127.0.0.1', port: portOf(seed.swarm) }]);
    return download;
  });
  await until(() => seed.counts.out >= 8_000_000, '8 MB sent');
  const seconds = (performance.now() - started) / 1000;
  t.ok(seed.counts.out / seconds <= 4_000_000 * 1.15, `${seed.counts.out / seconds} bytes a second`);
  const [one = 0, two = 0] = downloads.map((download) => download.stats().bytesFromPeers);
  t.ok(Math.min(one, two) / Math.max(one, two) > 0.6, `${one} and ${two} bytes`);
});

t.test('a download rate is kept', async (t) => {
  const blob = makeBlob(4_000_000);
  const seed = await member(t, [blob]);
  const leech = await member(t, [], { downloadRateBytesPerSecond: 3_000_000 });
  const started = performance.now();
  const download = leech.swarm.download({ metainfo: blob.metainfo, store: memoryStore(blob.metainfo) });
  download.addPeers([{ host: '127.0.0.1', port: portOf(seed.swarm) }]);
  await download.completed;
  const seconds = (performance.now() - started) / 1000;
  const last = pieceSize(blob.metainfo, 0);
  t.ok((4_000_000 - last) / seconds <= 3_000_000 * 1.1, `${4_000_000 / seconds} bytes a second`);
});
