import fc from 'fast-check';
import t from 'tap';
import type { AgentRecord } from '../../../tracker/agents.ts';
import { isHost, packAddress, plainIp } from '../../../tracker/ip.ts';
import type { Member } from '../../../tracker/members.ts';
import {
  type Caller,
  type Candidates,
  choosePeers,
  describePeers,
  packPeers,
} from '../../../tracker/peer-list.ts';

const id = (number: number): string => number.toString(16).padStart(40, '0');
const member = (number: number, change: Partial<Member> = {}): Member => ({
  key: `${number}`,
  ip: `10.0.${number >> 8}.${number & 255}`,
  port: 7_000,
  peerId: id(number),
  complete: false,
  leased: false,
  expiresAt: 1,
  ...change,
});
const agent = (number: number, change: Partial<AgentRecord> = {}): AgentRecord => ({
  peerId: id(number),
  ip: `10.1.${number >> 8}.${number & 255}`,
  port: 7_001,
  blobs: 1,
  lastSeenAt: 0,
  ...change,
});
const candidates = (change: Partial<Candidates>): Candidates => {
  const members = [...(change.members ?? [])];
  return {
    memberCount: members.length,
    holders: new Set(),
    seeds: [],
    agentOf: () => undefined,
    ...change,
    members,
  };
};
const caller: Caller = {
  ...{ peerId: id(0xffff), ip: '10.9.9.9', port: 1234 },
  ...{ complete: false, numwant: 50, libp2p: false },
};
const seed = { host: '10.8.8.8', ip: '10.8.8.8', port: 6881 };
const hosts = (list: readonly { host: string }[]): string[] => list.map(({ host }) => host);

t.test('never more than wanted, nobody twice, never the caller, the origin at the end', async (t) => {
  fc.assert(
    fc.property(fc.nat(120), fc.nat(120), fc.integer({ min: 1, max: 82 }), (members, holders, numwant) => {
      const list = choosePeers(
        { ...caller, numwant },
        candidates({
          members: [
            ...Array.from({ length: members }, (_, number) => member(number)),
            member(1, { peerId: caller.peerId }),
          ],
          holders: new Set(Array.from({ length: holders }, (_, number) => agent(number + 500))),
          seeds: [seed],
        }),
      );
      const all = members + holders;
      if (list.length > numwant) throw new Error('too many');
      if (list.length < Math.min(numwant, all + 1) - 1) throw new Error(`too few: ${list.length}`);
      if (new Set(list.map(({ host, port }) => `${host} ${port}`)).size !== list.length)
        throw new Error('twice');
      if (list.some(({ peerId }) => peerId === caller.peerId)) throw new Error('the caller');
      if (numwant > 1 && list[list.length - 1]?.host !== seed.host) throw new Error('no origin');
    }),
  );
  t.pass();
});

t.test('each candidate has its turn', async (t) => {
  const seen = new Set<string>();
  const many = candidates({
    members: Array.from({ length: 40 }, (_, number) => member(number)),
    holders: new Set(Array.from({ length: 40 }, (_, number) => agent(number + 500))),
  });
  for (let round = 0; round < 400; round += 1) {
    for (const host of hosts(choosePeers({ ...caller, numwant: 8 }, many))) seen.add(host);
  }
  t.equal(seen.size, 80);
});

t.test('a seed hears of those who download only; who leaves, of nobody', async (t) => {
  const all = candidates({
    members: [member(1), member(2, { complete: true })],
    holders: new Set([agent(3)]),
    seeds: [seed],
  });
  t.same(hosts(choosePeers({ ...caller, complete: true }, all)), ['10.0.0.1']);
  t.same(choosePeers({ ...caller, numwant: 0 }, all), []);
});

t.test('who cannot be reached is left out', async (t) => {
  const list = candidates({
    members: [member(1, { port: 1 }), member(2, { ip: '127.0.0.1' })],
    holders: new Set([agent(3, { port: undefined }), agent(4, { host: 'localhost' }), agent(5)]),
    seeds: [{ host: '127.0.0.1', ip: '127.0.0.1', port: 6881 }],
  });
  t.same(hosts(choosePeers(caller, list)), ['10.1.0.5'], 'not the loopback of another machine');
  t.same(hosts(choosePeers({ ...caller, ip: '127.0.0.1' }, list)).sort(), [
    '10.1.0.5',
    '127.0.0.1',
    '127.0.0.1',
    'localhost',
  ]);
});

t.test('packed and described answers carry each peer', async (t) => {
  const list = choosePeers(
    caller,
    candidates({
      holders: new Set([agent(1, { host: 'a.example', zone: 'eu1' }), agent(2, { host: '2001:db8::7' })]),
      seeds: [{ host: 'origin.example', ip: undefined, port: 1 }],
    }),
  );
  t.same(describePeers(list), [
    { ip: 'a.example', port: 7001, 'peer id': Buffer.from(id(1), 'hex'), zone: 'eu1' },
    { ip: '2001:db8::7', port: 7001, 'peer id': Buffer.from(id(2), 'hex') },
    { ip: 'origin.example', port: 1 },
  ]);
  t.same(packPeers(list), {
    v4: Buffer.from([10, 1, 0, 1, 0x1b, 0x59]),
    v6: Buffer.from('20010db80000000000000000000000071b59', 'hex'),
  });
});

t.test('every IP address packs to its bytes', async (t) => {
  fc.assert(
    fc.property(fc.ipV4(), fc.nat(65_535), (ip, port) => {
      const packed = packAddress(ip, port);
      return packed?.subarray(0, 4).join('.') === ip && packed.readUInt16BE(4) === port;
    }),
  );
  fc.assert(
    fc.property(fc.ipV6(), fc.nat(65_535), (ip, port) => {
      const packed = packAddress(ip, port);
      if (packed?.length !== 18 || packed.readUInt16BE(16) !== port) return false;
      const groups = Array.from({ length: 8 }, (_, group) => packed.readUInt16BE(group * 2).toString(16));
      // The platform's own reading of both texts.
      const host = (text: string): string => new URL(`http://[${text}]`).host;
      return host(groups.join(':')) === host(ip);
    }),
    { numRuns: 500 },
  );
  t.equal(packAddress('node.example', 1), undefined);
  t.equal(packAddress('fe80::1%eth0', 1), undefined);
  t.equal(plainIp('::ffff:10.0.0.1'), '10.0.0.1');
  t.equal(plainIp('FE80::1%eth0'), 'fe80::1');
});

t.test('hosts', async (t) => {
  for (const good of ['10.0.0.1', '::1', 'node7', 'a-b.example.org', 'x.1a', 'a'.repeat(63)])
    t.ok(isHost(good), good);
  for (const bad of [
    '',
    '1.2.3',
    '256.1.1.1',
    'a_b',
    'a.',
    '.a',
    'a..b',
    'x/y',
    'x:1',
    'fe80::1%e',
    'a'.repeat(64),
  ]) {
    t.notOk(isHost(bad), bad);
  }
});
