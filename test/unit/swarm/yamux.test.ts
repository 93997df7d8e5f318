import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import type { Connection } from '../../../src/swarm/transport/index.ts';
import { createSecureConnection } from '../../../src/swarm/transport/libp2p/noise.ts';
import { createYamux, type Yamux, type YamuxStream } from '../../../src/swarm/transport/libp2p/yamux.ts';
import { until } from '../../integration/swarm-support.ts';
import { memoryPair } from '../../support/memory-connection.ts';
import { hear } from './connection-contract.ts';

/** Mutated sessions; a long run sets FUZZ_RUNS. */
const FUZZ_RUNS = Number(process.env['FUZZ_RUNS'] ?? 300);

const TYPE = { data: 0, windowUpdate: 1, ping: 2, goAway: 3 } as const;
const FLAG = { syn: 1, ack: 2, fin: 4, rst: 8 } as const;

function frame(type: number, flags: number, id: number, length: number, version = 0): Buffer {
  const bytes = Buffer.alloc(12);
  bytes[0] = version;
  bytes[1] = type;
  bytes.writeUInt16BE(flags, 2);
  bytes.writeUInt32BE(id, 4);
  bytes.writeUInt32BE(length, 8);
  return bytes;
}

interface Session {
  readonly yamux: Yamux;
  readonly accepted: YamuxStream[];
}

function session(connection: Connection, options: { idleMs?: number; maxStreams?: number } = {}): Session {
  const accepted: YamuxStream[] = [];
  const yamux = createYamux({
    connection,
    rest: [],
    maxStreams: options.maxStreams ?? 100,
    idleMs: options.idleMs ?? 60_000,
    accept: (stream) => void accepted.push(stream),
  });
  yamux.start();
  return { yamux, accepted };
}

/** A session that a peer writes raw frames to. */
function attacked(options: { maxStreams?: number } = {}): {
  victim: Session;
  peer: Connection;
  heard: ReturnType<typeof hear>;
} {
  const { dialled, accepted } = memoryPair();
  const victim = session(accepted, options);
  return { victim, peer: dialled, heard: hear(dialled) };
}

async function refused(frames: readonly Buffer[]): Promise<boolean> {
  const { peer, heard } = attacked();
  peer.write(frames);
  await until(() => heard.reasons.length > 0, 'the session to end', 5_000);
  return true;
}

t.test('what breaks the protocol ends the session', async (t) => {
  const open = frame(TYPE.windowUpdate, FLAG.syn, 1, 0);
  const cases: Record<string, Buffer[]> = {
    'another version': [frame(TYPE.data, FLAG.syn, 1, 0, 1)],
    'an unknown type': [frame(9, 0, 1, 0)],
    'data for the session': [frame(TYPE.data, 0, 0, 5)],
    'a stream that is ours to open': [frame(TYPE.windowUpdate, FLAG.syn, 2, 0)],
    'a stream that was never opened': [frame(TYPE.data, 0, 7, 10)],
    'a stream of ours that we never opened': [frame(TYPE.windowUpdate, 0, 4, 10)],
    'a stream opened twice': [open, open],
    'a stream opened out of order': [frame(TYPE.windowUpdate, FLAG.syn, 5, 0), open],
    'a frame of four gigabytes': [open, frame(TYPE.data, 0, 1, 0xffff_ffff)],
    'more than the window': [
      open,
      frame(TYPE.data, 0, 1, 200_000),
      Buffer.alloc(200_000),
      frame(TYPE.data, 0, 1, 100_000),
    ],
    'a window without end': [open, frame(TYPE.windowUpdate, 0, 1, 0xffff_ffff)],
    'data behind the end': [open, frame(TYPE.data, FLAG.fin, 1, 10)],
    'data without end for a stream that is over': [
      open,
      frame(TYPE.windowUpdate, FLAG.rst, 1, 0),
      frame(TYPE.data, 0, 1, 262_144),
      Buffer.alloc(262_144),
      frame(TYPE.data, 0, 1, 1),
    ],
    'a flood of streams': Array.from({ length: 2_000 }, (_, at) =>
      frame(TYPE.windowUpdate, FLAG.syn, 2 * at + 1, 0),
    ),
  };
  for (const [name, frames] of Object.entries(cases)) t.ok(await refused(frames), name);
});

t.test('a peer that asks without reading the answers is closed', async (t) => {
  const { peer, heard } = attacked();
  peer.pause();
  for (let at = 0; at < 10_000 && heard.reasons.length === 0; at++) {
    peer.write([frame(TYPE.ping, FLAG.syn, 0, at)]);
  }
  peer.pause();
  await until(() => heard.reasons.length > 0, 'the close');
  t.pass('closed');
});

t.test('streams above the limit are reset, and the others live', async (t) => {
  const { victim, peer, heard } = attacked({ maxStreams: 2 });
  for (const id of [1, 3, 5]) peer.write([frame(TYPE.windowUpdate, FLAG.syn, id, 0)]);
  peer.write([frame(TYPE.data, 0, 5, 3), Buffer.from('xyz'), frame(TYPE.data, 0, 3, 3), Buffer.from('abc')]);
  await until(() => victim.accepted.length === 2, 'two streams');
  const second = victim.accepted[1];
  const got = second === undefined ? undefined : hear(second);
  await until(() => got?.bytes === 3, 'its bytes');
  t.equal(Buffer.concat(got?.chunks ?? []).toString(), 'abc');
  t.ok(Buffer.concat(heard.chunks).includes(frame(TYPE.windowUpdate, FLAG.rst, 5, 0)));
  t.equal(heard.reasons.length, 0);
});

t.test('a stream that is not read fills its window and no more', async (t) => {
  const { dialled, accepted } = memoryPair();
  const from = session(dialled);
  const to = session(accepted);
  const stuck = from.yamux.open();
  const moving = from.yamux.open();
  await until(() => to.accepted.length === 2, 'both streams');
  const bytes = randomBytes(2_000_000);
  stuck.write([bytes]);
  moving.write([bytes]);
  const [atStuck, atMoving] = to.accepted;
  const heard = atMoving === undefined ? undefined : hear(atMoving);
  await until(() => heard?.bytes === bytes.length, 'the stream that is read');
  t.ok(Buffer.concat(heard?.chunks ?? []).equals(bytes));
  t.equal(stuck.unsent, bytes.length - 256 * 1024);
  const late = atStuck === undefined ? undefined : hear(atStuck);
  await until(() => late?.bytes === bytes.length, 'the other, once it is read');
  t.ok(Buffer.concat(late?.chunks ?? []).equals(bytes));
});

t.test('streams take turns', async (t) => {
  const { dialled, accepted } = memoryPair();
  const from = session(dialled);
  const to = session(accepted);
  const streams = [from.yamux.open(), from.yamux.open(), from.yamux.open()];
  await until(() => to.accepted.length === 3, 'the streams');
  const heard = to.accepted.map(hear);
  for (const stream of streams) stream.write([Buffer.alloc(20_000_000)]);
  await until(() => heard.some(({ bytes }) => bytes > 6_000_000), 'some to arrive');
  const counts = heard.map(({ bytes }) => bytes);
  t.ok(Math.min(...counts) > 0.5 * Math.max(...counts), `${counts}`);
  from.yamux.close('enough');
});

t.test('a session without streams ends; one with streams does not', async (t) => {
  const { dialled, accepted } = memoryPair();
  const from = session(dialled, { idleMs: 20 });
  const to = session(accepted);
  const stream = from.yamux.open();
  await until(() => to.accepted.length === 1, 'the stream');
  await new Promise((resolve) => setTimeout(resolve, 60));
  const heard = hear(stream);
  t.equal(heard.reasons.length, 0);
  stream.close('over');
  let over = false;
  accepted.onClosed(() => {
    over = true;
  });
  await until(() => over, 'the session to end');
  t.throws(() => from.yamux.open());
});

t.test('a peer that leaves keeps its streams until they end, and gets no new ones', async (t) => {
  const { dialled, accepted } = memoryPair();
  const { yamux } = session(accepted);
  const heard = hear(dialled);
  const stream = yamux.open();
  dialled.write([frame(TYPE.windowUpdate, FLAG.ack, 2, 0), frame(TYPE.goAway, 0, 0, 0)]);
  dialled.write([frame(TYPE.data, 0, 2, 2), Buffer.from('ok')]);
  const got = hear(stream);
  await until(() => got.bytes === 2, 'the stream to go on');
  t.throws(() => yamux.open(), /leaving/);
  stream.close('over');
  await until(() => heard.reasons.length > 0, 'the session to end');
});

t.test('mutated frames never throw, never hang and never reach another stream', async () => {
  const operation = fc.tuple(
    fc.constantFrom(0, 1, 2, 3, 4),
    fc.integer({ min: 0, max: 15 }),
    fc.integer({ min: 0, max: 9 }),
    fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 0xffff_ffff })),
    fc.uint8Array({ maxLength: 300 }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 30 }), async (operations) => {
      const { victim, peer, heard } = attacked();
      for (const [type, flags, id, length, body] of operations)
        peer.write([frame(type, flags, id, length), body]);
      // It has read all, or refused.
      await until(() => peer.unsent === 0 || heard.reasons.length > 0, 'the frames to be handled');
      for (const stream of victim.accepted) assert.equal(stream.id % 2, 1);
      victim.yamux.close('over');
      await until(() => heard.reasons.length === 1, 'the end');
    }),
    { numRuns: FUZZ_RUNS },
  );
});

const keysOf = (send: Buffer, receive: Buffer) => ({ send, receive, memberId: 'the other' });

t.test('Noise frames arrive whatever their cutting, and a changed byte ends the connection', async (t) => {
  const keys = { one: randomBytes(32), two: randomBytes(32) };
  const pair = () => {
    const { dialled, accepted } = memoryPair();
    return {
      raw: accepted,
      from: createSecureConnection({ connection: dialled, rest: [] }, keysOf(keys.one, keys.two)),
      to: createSecureConnection({ connection: accepted, rest: [] }, keysOf(keys.two, keys.one)),
    };
  };
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.integer({ min: 1, max: 150_000 }), { maxLength: 4 }), { maxLength: 4 }),
      async (writes) => {
        const { from, to } = pair();
        const heard = hear(to);
        hear(from);
        const sent: Buffer[] = [];
        for (const sizes of writes) {
          const parts = sizes.map((size) => randomBytes(size));
          from.write(parts);
          sent.push(...parts);
        }
        const all = Buffer.concat(sent);
        await until(() => heard.bytes === all.length, 'all bytes');
        return Buffer.concat(heard.chunks).equals(all);
      },
    ),
    { numRuns: 30 },
  );

  const sealed: Buffer[] = [];
  const tap = memoryPair();
  tap.accepted.attach({ data: (chunk) => void sealed.push(Buffer.from(chunk)), closed: () => undefined });
  createSecureConnection({ connection: tap.dialled, rest: [] }, keysOf(keys.one, keys.two)).write([
    Buffer.from('a whole message'),
  ]);
  const length = 2 + 15 + 16;
  await until(() => sealed.reduce((sum, { length: bytes }) => sum + bytes, 0) === length, 'the frame');
  const good = Buffer.concat(sealed);
  t.notOk(good.includes('message'), 'it is not sent in the clear');
  for (let at = 0; at < length; at++) {
    const bad = Buffer.from(good);
    bad[at] = (bad[at] ?? 0) ^ 0x10;
    const { dialled, accepted } = memoryPair();
    const heard = hear(
      createSecureConnection({ connection: accepted, rest: [] }, keysOf(keys.two, keys.one)),
    );
    const sender = hear(dialled);
    // Behind a longer length the rest of a frame must come before it can be refused.
    dialled.write([bad, Buffer.alloc(70_000)]);
    await until(() => sender.reasons.length > 0, `byte ${at}`);
    assert.equal(heard.bytes, 0);
  }
});
