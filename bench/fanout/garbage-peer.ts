/**
 * A member that lies: `garbage-peer.ts HOST:PORT ORIGIN INFOHASH…` announces itself to the origin's tracker
 * as a holder of each blob, greets whoever dials it, claims every piece, unchokes, and answers each
 * request with random bytes of the right length. Says on standard output, when its input ends, how
 * many blocks it sent.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { HAVE_ALL, handshake, message } from '../../test/support/raw-peer.ts';

const [listen = '', origin = '', ...infoHashes] = process.argv.slice(2);
const { hostname: host, port } = new URL(`tcp://${listen}`);
const ANNOUNCE_MS = 2_000;
const HANDSHAKE_BYTES = 68;
const UNCHOKE = message(1);
const REQUEST = 6;
const PIECE = 7;
const peerId = `-XX0000-${randomBytes(6).toString('hex')}`;
const garbage = randomBytes(1 << 17);
let blocks = 0;

/** One connection, read by its lengths; what is no request is passed over. */
async function serve(socket: net.Socket): Promise<void> {
  let pending = Buffer.alloc(0);
  let greeted = false;
  for await (const chunk of socket) {
    pending = Buffer.concat([pending, chunk as Buffer]);
    if (!greeted) {
      if (pending.length < HANDSHAKE_BYTES) continue;
      greeted = true;
      const infoHash = pending.subarray(28, 48).toString('hex');
      socket.write(Buffer.concat([handshake(infoHash, peerId), HAVE_ALL, UNCHOKE]));
      pending = pending.subarray(HANDSHAKE_BYTES);
    }
    while (pending.length >= 4 && pending.length >= 4 + pending.readUInt32BE(0)) {
      const length = pending.readUInt32BE(0);
      const body = pending.subarray(4, 4 + length);
      pending = pending.subarray(4 + length);
      if (body[0] !== REQUEST || length !== 13) continue;
      const [piece, offset] = [body.readUInt32BE(1), body.readUInt32BE(5)];
      socket.write(message(PIECE, [piece, offset], garbage.subarray(0, body.readUInt32BE(9))));
      blocks += 1;
    }
  }
}

async function announce(infoHash: string): Promise<void> {
  const query = `info_hash=${infoHash.replace(/../g, '%$&')}&peer_id=${peerId}&port=${port}`;
  const response = await fetch(`${origin}/announce?${query}&uploaded=0&downloaded=0&left=0&compact=1`);
  const answer = await response.text();
  if (!response.ok || answer.includes('failure reason')) throw new Error(`not announced: ${answer}`);
}

const server = net.createServer((socket) => {
  socket.on('error', () => undefined);
  serve(socket).catch(() => undefined);
});
server.listen(Number(port), host);
await once(server, 'listening');
await Promise.all(infoHashes.map(announce));
const again = setInterval(
  () => void Promise.all(infoHashes.map(announce)).catch(() => undefined),
  ANNOUNCE_MS,
);
console.log('ready');
process.stdin.resume();
await once(process.stdin, 'end');
clearInterval(again);
console.log(`sent ${blocks}`);
process.exit(0);
