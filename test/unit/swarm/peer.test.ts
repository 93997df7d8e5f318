/** What one peer may cost us, by a clock of the test's own. */
import t from 'tap';
import {
  createPeer,
  createSendMemory,
  type Peer,
  type PeerEvents,
  type PeerOptions,
} from '../../../src/swarm/peer/index.ts';
import { createRateLimiter } from '../../../src/swarm/rate/index.ts';
import type { Connection } from '../../../src/swarm/transport/index.ts';
import { BLOCK_BYTES } from '../../../src/swarm/wire/index.ts';
import { until } from '../../integration/swarm-support.ts';
import { memoryPair } from '../../support/memory-connection.ts';
import { HAVE_ALL, INTERESTED, message, request } from '../../support/raw-peer.ts';

const PIECE_BYTES = 16 * BLOCK_BYTES;

interface Watched {
  readonly peer: Peer;
  /** The other end of the connection. */
  readonly them: Connection;
  readonly offences: string[];
  readonly heard: string[];
  readonly clock: { now: number };
}

function watched(options: Partial<PeerOptions> = {}): Watched {
  const { dialled, accepted } = memoryPair();
  const clock = { now: 1_000 };
  const offences: string[] = [];
  const heard: string[] = [];
  const note = (name: string) => () => void heard.push(name);
  const events: PeerEvents = {
    have: () => true,
    pieces: note('pieces'),
    choked: note('choked'),
    unchoked: note('unchoked'),
    interested: note('interested'),
    rejected: note('rejected'),
    blockStart: () => undefined,
    blockEnd: note('block'),
    arrived: note('arrived'),
    sent: note('sent'),
    served: note('served'),
    introduced: note('introduced'),
    unreadable: note('unreadable'),
    offended: (_peer, reason) => void offences.push(reason),
    closed: note('closed'),
  };
  const peer = createPeer({
    connection: accepted,
    peerId: 'aa'.repeat(20),
    fast: true,
    extended: true,
    address: undefined,
    pieceCount: 100,
    pieceLength: PIECE_BYTES,
    pieceSize: () => PIECE_BYTES,
    info: new Uint8Array(3_000),
    holds: () => true,
    recall: () => false,
    read: async () => undefined,
    memory: createSendMemory(1 << 24),
    uploadLimiter: createRateLimiter(undefined),
    asked: { blocks: 0 },
    listenPort: undefined,
    ourZone: undefined,
    events,
    now: () => clock.now,
    ...options,
  });
  peer.start(Buffer.alloc(0));
  return { peer, them: dialled, offences, heard, clock };
}

t.test('who asks and does not take the answer loses its connection and frees the memory', async (t) => {
  const memory = createSendMemory(1 << 24);
  const one = watched({ memory });
  one.peer.setChoking(false);
  one.them.write([Buffer.concat([INTERESTED, request(0, 0, BLOCK_BYTES)])]);
  await until(() => one.them.unsent === 0 && one.peer.wanted === 0, 'the request');
  await new Promise(setImmediate);
  one.clock.now += 29_000;
  one.peer.tick(one.clock.now);
  t.notOk(one.peer.closed, 'it has its time');
  // Keep-alives do not help.
  one.them.write([Buffer.alloc(4)]);
  await until(() => one.them.unsent === 0, 'the keep-alive');
  await new Promise(setImmediate);
  one.clock.now += 2_000;
  one.peer.tick(one.clock.now);
  t.strictSame(one.offences, ['does not take what it asked for']);
});

t.test(
  'there is more to ask for when pieces were told or blocks ended, and not with each read',
  async (t) => {
    const one = watched();
    const asked = (): number => one.heard.filter((name) => name === 'arrived').length;
    const send = async (...messages: Buffer[]): Promise<void> => {
      one.them.write([Buffer.concat(messages)]);
      await until(() => one.them.unsent === 0, 'the messages');
      await new Promise(setImmediate);
    };
    await send(INTERESTED, Buffer.alloc(4));
    t.equal(asked(), 0);
    await send(message(14), message(4, [7]), message(4, [8]));
    t.equal(asked(), 1, 'once a read');
    one.peer.request(7, 0, BLOCK_BYTES);
    await send(message(7, [7, 0], Buffer.alloc(BLOCK_BYTES)));
    t.equal(asked(), 2, 'although the block took some reads');
  },
);

t.test('answers that are small are bounded too', async (t) => {
  const one = watched();
  // It is choked: each request is refused, which costs it budget and us 17 bytes.
  for (let second = 0; second < 600 && !one.peer.closed; second++) {
    one.clock.now += 1_000;
    one.them.write([Buffer.concat(Array.from({ length: 1_000 }, () => request(0, 0, BLOCK_BYTES)))]);
    await until(() => one.peer.closed || one.them.unsent === 0, 'the requests');
    await new Promise(setImmediate);
  }
  t.strictSame(one.offences, ['does not read what it is sent']);
});

t.test('what nobody asked for is neither progress nor pace', async (t) => {
  const one = watched();
  one.peer.request(3, 0, BLOCK_BYTES);
  const { progressAt } = one.peer;
  one.clock.now += 500;
  one.them.write([Buffer.concat([HAVE_ALL, message(1), message(7, [5, 0], Buffer.alloc(BLOCK_BYTES))])]);
  await until(() => one.heard.includes('unchoked'), 'the unchoke');
  const unchokedAt = one.peer.progressAt;
  one.clock.now += 500;
  one.them.write([message(7, [6, 0], Buffer.alloc(BLOCK_BYTES))]);
  await until(() => one.them.unsent === 0, 'the block');
  t.ok(unchokedAt >= progressAt);
  t.equal(one.peer.progressAt, unchokedAt);
  t.equal(one.peer.bytesIn, 0);
  t.equal(one.peer.outstanding, 1);
});

t.test('introducing itself again and again is a flood', async (t) => {
  const one = watched();
  const zone = (name: string): Buffer => message(20, [], Buffer.from(`\0d10:shoal_zone1:${name}e`));
  one.them.write([Buffer.concat(Array.from({ length: 400 }, (_, at) => zone(at % 2 === 0 ? 'a' : 'b')))]);
  await until(() => one.peer.closed, 'the end');
  t.match(one.offences, [/extended handshakes/]);
  t.ok(one.heard.filter((name) => name === 'introduced').length < 300);
});
