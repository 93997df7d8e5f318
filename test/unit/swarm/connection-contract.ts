/** What every transport promises by `Connection`, as tests that any of them runs. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import type { Connection } from '../../../src/swarm/transport/index.ts';
import { until } from '../../integration/swarm-support.ts';

export interface Pair {
  readonly dialled: Connection;
  readonly accepted: Connection;
}

interface Heard {
  readonly chunks: Buffer[];
  bytes: number;
  readonly reasons: string[];
}

/** Attaches, and keeps a copy of what comes. */
export function hear(connection: Connection): Heard {
  const heard: Heard = { chunks: [], bytes: 0, reasons: [] };
  connection.attach({
    data(chunk) {
      heard.chunks.push(Buffer.from(chunk));
      heard.bytes += chunk.length;
    },
    closed: (reason) => void heard.reasons.push(reason),
  });
  return heard;
}

const isEqual = (heard: Heard, bytes: Buffer): boolean => Buffer.concat(heard.chunks).equals(bytes);

/** Runs the contract; `connect` makes a new connection and sees to its end. */
export function connectionContract(name: string, connect: (test: Test) => Promise<Pair>): void {
  t.test(`${name}: each end knows who dialled`, async (t) => {
    const { dialled, accepted } = await connect(t);
    t.equal(dialled.incoming, false);
    t.equal(accepted.incoming, true);
    t.equal(dialled.transport, accepted.transport);
    t.equal(dialled.host, '127.0.0.1');
    t.equal(accepted.host.replace('::ffff:', ''), '127.0.0.1');
  });

  t.test(`${name}: bytes arrive as they were written, both ways at once`, async (t) => {
    const { dialled, accepted } = await connect(t);
    const there = randomBytes(3_000_000);
    const back = randomBytes(2_000_001);
    const atAccepted = hear(accepted);
    const atDialled = hear(dialled);
    let taken = 0;
    for (let at = 0; at < there.length; at += 100_000) {
      dialled.write([there.subarray(at, at + 13), there.subarray(at + 13, at + 100_000)], () => void taken++);
    }
    accepted.write([back], () => void taken++);
    await until(() => atAccepted.bytes === there.length && atDialled.bytes === back.length, 'all bytes');
    t.ok(isEqual(atAccepted, there));
    t.ok(isEqual(atDialled, back));
    await until(() => taken === 31, 'every write to be taken');
    t.equal(dialled.unsent, 0);
  });

  t.test(`${name}: any cutting into writes and parts gives the same bytes`, async (t) => {
    const parts = fc.array(fc.uint8Array({ maxLength: 3_000 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(fc.array(parts, { maxLength: 8 }), async (writes) => {
        const { dialled, accepted } = await connect(t);
        const expected = Buffer.concat(writes.flat());
        const heard = hear(accepted);
        hear(dialled);
        for (const write of writes) if (write.length > 0) dialled.write(write);
        await until(() => heard.bytes >= expected.length, 'all bytes');
        const equal = isEqual(heard, expected);
        dialled.close('done');
        return equal;
      }),
      { numRuns: 20 },
    );
    t.pass('held');
  });

  t.test(`${name}: nothing is read before somebody listens, and nothing is lost`, async (t) => {
    const { dialled, accepted } = await connect(t);
    const bytes = randomBytes(50_000);
    dialled.write([bytes]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const heard = hear(accepted);
    await until(() => heard.bytes === bytes.length, 'the bytes');
    t.ok(isEqual(heard, bytes));
  });

  t.test(`${name}: a paused end is felt by the sender, and goes on where it stopped`, async (t) => {
    const { dialled, accepted } = await connect(t);
    const bytes = randomBytes(40_000_000);
    const heard = hear(accepted);
    hear(dialled);
    dialled.write([bytes.subarray(0, 1_000)]);
    await until(() => heard.bytes === 1_000, 'the first bytes');
    accepted.pause();
    let taken = false;
    dialled.write([bytes.subarray(1_000)], () => {
      taken = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    t.notOk(taken, 'the write waits');
    t.ok(dialled.unsent > 0, 'and says so');
    t.ok(heard.bytes < bytes.length);
    accepted.resume();
    await until(() => heard.bytes === bytes.length && taken, 'the rest');
    t.ok(isEqual(heard, bytes));
  });

  t.test(`${name}: closing tells both ends once, and whoever asks later`, async (t) => {
    const { dialled, accepted } = await connect(t);
    const atDialled = hear(dialled);
    const atAccepted = hear(accepted);
    let told = 0;
    accepted.onClosed(() => void told++);
    dialled.close('enough');
    dialled.close('again');
    t.same(atDialled.reasons, ['enough']);
    await until(() => atAccepted.reasons.length > 0, 'the other end');
    accepted.close('late');
    t.equal(atAccepted.reasons.length, 1);
    t.equal(told, 1);
    dialled.onClosed(() => void told++);
    t.equal(told, 2, 'a late listener hears at once');
    t.equal(hear(dialled).reasons.length, 1, 'and so does a late owner');
  });

  t.test(`${name}: bytes written before the close arrive`, async (t) => {
    const { dialled, accepted } = await connect(t);
    const heard = hear(accepted);
    hear(dialled);
    dialled.write([Buffer.from('goodbye')], () => dialled.close('said it'));
    await until(() => heard.reasons.length > 0, 'the close');
    t.equal(Buffer.concat(heard.chunks).toString(), 'goodbye');
  });

  t.test(`${name}: a write is given back when the connection fails, before or after`, async (t) => {
    const { dialled, accepted } = await connect(t);
    const heard = hear(dialled);
    let taken = 0;
    for (let write = 0; write < 10; write++) {
      dialled.write([Buffer.alloc(1_000_000)], () => void taken++);
    }
    accepted.close('refused');
    await until(() => heard.reasons.length > 0, 'the close');
    dialled.write([Buffer.from('too late')], () => void taken++);
    await until(() => taken === 11, 'every write to be given back');
    t.equal(heard.reasons.length, 1);
  });

  t.test(`${name}: closing from within the arrival of bytes is heard once`, async (t) => {
    const { dialled, accepted } = await connect(t);
    const reasons: string[] = [];
    accepted.attach({
      data: () => accepted.close('not what we speak'),
      closed: (reason) => void reasons.push(reason),
    });
    const heard = hear(dialled);
    dialled.write([randomBytes(500_000)]);
    await until(() => heard.reasons.length > 0, 'the close');
    t.same(reasons, ['not what we speak']);
  });
}
