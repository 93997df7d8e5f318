/** UDP announces to trackers that lose, lie, refuse or fall silent, on real sockets. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { parseInfoHash } from '#torrent';
import { udpTarget } from '../../../src/discovery/udp-announce.ts';

const SELF = { peerId: 'ab'.repeat(20), address: { port: 6881 } };
const REPEAT_MS = 20;
const deadline = (): AbortSignal => AbortSignal.timeout(30_000);
const infoHash = parseInfoHash('0123456789abcdef0123456789abcdef01234567');
if (infoHash === undefined) throw new Error('no infohash');

type Reply = (message: Buffer, send: (answer: Buffer) => void) => void;

async function trackerThat(t: Test, reply: Reply): Promise<{ url: string; socket: Socket }> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  socket.on('message', (message, from) => {
    reply(message, (answer) => socket.send(answer, from.port, from.address));
  });
  return { url: `udp://127.0.0.1:${socket.address().port}`, socket };
}

const words = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [at, value] of values.entries()) bytes.writeUInt32BE(value, at * 4);
  return bytes;
};
const isConnect = (message: Buffer): boolean => message.length === 16 && message.readUInt32BE(8) === 0;
const transactionOf = (message: Buffer): number => message.readUInt32BE(12);
const connected = (message: Buffer): Buffer => words(0, transactionOf(message), 0x11223344, 0x55667788);
const answered = (message: Buffer, ...peers: number[][]): Buffer =>
  Buffer.concat([words(1, transactionOf(message), 1800, 1, 2), Buffer.from(peers.flat())]);

t.test('what is said, the options behind it, and what is heard', async (t) => {
  const path = `/announce?passkey=${'k'.repeat(300)}`;
  let said: Buffer = Buffer.alloc(0);
  const { url } = await trackerThat(t, (message, send) => {
    if (isConnect(message)) return send(connected(message));
    said = message;
    send(answered(message, [10, 0, 0, 1, 0x1a, 0xe1], [10, 0, 0, 2, 0, 0], [10, 0, 0, 3, 0, 80], [1, 2]));
  });
  const target = udpTarget(`${url}${path}`, SELF);
  const answer = await target.announce({ infoHash, event: 'started', left: 2 ** 40 }, deadline());
  t.same(answer, {
    intervalMs: 1_800_000,
    // One without a port, and half of one, are none.
    peers: [
      { host: '10.0.0.1', port: 6881 },
      { host: '10.0.0.3', port: 80 },
    ],
  });
  t.equal(said.toString('hex', 0, 12), '112233445566778800000001');
  t.equal(said.toString('hex', 16, 56), `${infoHash}${SELF.peerId}`);
  t.same([said.readBigUInt64BE(64), said.readUInt32BE(80), said.readInt32BE(92)], [2n ** 40n, 2, 50]);
  t.equal(said.readUInt16BE(96), 6881);
  const [first, second] = [said.subarray(98, 98 + 257), said.subarray(98 + 257)];
  t.same([...first.subarray(0, 2), ...second.subarray(0, 2)], [2, 255, 2, path.length - 255]);
  t.equal(`${first.subarray(2)}${second.subarray(2)}`, path);
});

t.test('a lost datagram is sent again; what is no answer is not heard', async (t) => {
  let heard = 0;
  const { url } = await trackerThat(t, (message, send) => {
    heard += 1;
    if (heard === 1 || heard === 3) return;
    const right = isConnect(message) ? connected(message) : answered(message, [10, 0, 0, 1, 0, 80]);
    const stranger = Buffer.from(right);
    stranger[4] = (right[4] ?? 0) ^ 1;
    for (const noise of [Buffer.alloc(0), Buffer.alloc(7), stranger, right.subarray(0, 12)]) send(noise);
    send(right);
  });
  const answer = await udpTarget(url, SELF, REPEAT_MS).announce({ infoHash, left: 0 }, deadline());
  t.same(answer.peers, [{ host: '10.0.0.1', port: 80 }]);
  t.ok(heard >= 4, `${heard} datagrams`);
});

t.test('a refusal is told, silence ends with the signal, and nobody there is noticed', async (t) => {
  const { url } = await trackerThat(t, (message, send) => {
    if (isConnect(message)) send(connected(message));
    else send(Buffer.concat([words(3, transactionOf(message)), Buffer.from('no passkey')]));
  });
  await t.rejects(udpTarget(url, SELF).announce({ infoHash, left: 0 }, deadline()), {
    message: /no passkey/,
  });

  const silent = await trackerThat(t, () => undefined);
  const ending = new AbortController();
  const waiting = udpTarget(silent.url, SELF, REPEAT_MS).announce({ infoHash, left: 0 }, ending.signal);
  await once(silent.socket, 'message');
  ending.abort(new Error('enough'));
  await t.rejects(waiting, { message: 'enough' });
  const early = udpTarget(silent.url, SELF).announce({ infoHash, left: 0 }, ending.signal);
  await t.rejects(early, { message: 'enough' });

  const gone = createSocket('udp4');
  gone.bind(0, '127.0.0.1');
  await once(gone, 'listening');
  const { port } = gone.address();
  gone.close();
  await once(gone, 'close');
  const nobody = udpTarget(`udp://127.0.0.1:${port}`, SELF, REPEAT_MS);
  await t.rejects(nobody.announce({ infoHash, left: 0 }, deadline()), { code: 'ECONNREFUSED' });
});
