import fc from 'fast-check';
import t from 'tap';
import type { InfoHash } from '#torrent';
import { type AgentSelf, createAgents } from '../../../tracker/agents.ts';
import { isHost, packAddress, plainIp } from '../../../tracker/ip.ts';
import type { ListedPeer } from '../../../tracker/listed-peer.ts';
import { type Announced, createMembers } from '../../../tracker/members.ts';
import { type Caller, choosePeers, describePeers, packPeers } from '../../../tracker/peer-list.ts';
import { createZones } from '../../../tracker/zones.ts';

const id = (number: number): string => number.toString(16).padStart(40, '0');
const blob = id(0xb10b) as InfoHash;
const seed = { host: '10.8.8.8', ip: '10.8.8.8', port: 6881 };
const hosts = (list: readonly { host: string }[]): string[] => list.map(({ host }) => host);

/** The tracker's state of one blob, with a clock that stands still. */
function swarm() {
  const zones = createZones();
  const now = (): number => 1_000;
  const members = createMembers({ limits: { perBlob: 10_000, total: 100_000 }, zones, now });
  const agents = createAgents({
    leaseMs: 60_000,
    limits: { agents: 10_000, blobsPerAgent: 10, held: 100_000 },
    ...{ zones, now },
    onHold: ({ ip, peerId }, infoHash) => members.remove(infoHash, ip, peerId),
    onGone: ({ ip, peerId }) => members.removeAgent(ip, peerId),
  });
  const ipOf = (number: number, net: number): string => `10.${net}.${number >> 8}.${number & 255}`;
  return {
    members,
    agents,
    /** Announces the blob. */
    member(number: number, change: Partial<Announced> = {}): void {
      members.set(blob, {
        ...{ ip: ipOf(number, 0), port: 7_000, peerId: id(number), left: 1, leased: false, expiresAt: 2_000 },
        ...change,
      });
    },
    /** An agent whose inventory has the blob. */
    holder(number: number, self: AgentSelf = {}): void {
      agents.put(id(number), ipOf(number, 1), { port: 7_001, ...self }, [blob]);
    },
    choose(change: Partial<Caller> & { zone?: string; seeds?: readonly (typeof seed)[] } = {}): ListedPeer[] {
      const { zone, seeds = [], ...rest } = change;
      const caller = {
        ...{ peerId: id(0xffff), ip: '10.9.9.9', port: 1234, complete: false, numwant: 50, libp2p: false },
        levels: zones.levels(zone),
        ...rest,
      };
      return choosePeers(caller, {
        members: members.of(blob),
        holders: agents.holders(blob),
        seeds,
        agentOf: agents.find,
        isLeased: agents.isLeased,
        now: now(),
      });
    },
  };
}

t.test('never more than wanted, nobody twice, never the caller, the origin at the end', async (t) => {
  const zone = fc.constantFrom(undefined, 'eu1', 'eu1/rack1', 'eu1/rack2', 'us/a/b');
  fc.assert(
    fc.property(
      fc.array(zone, { maxLength: 120 }),
      fc.array(zone, { maxLength: 120 }),
      fc.integer({ min: 1, max: 82 }),
      zone,
      (members, holders, numwant, mine) => {
        const { member, holder, choose } = swarm();
        for (const [number, zone] of members.entries()) member(number, { zone });
        for (const [number, zone] of holders.entries()) holder(number + 500, { zone });
        member(1, { peerId: id(0xffff) });
        const list = choose({ numwant, seeds: [seed], ...(mine !== undefined && { zone: mine }) });
        const all = members.length + holders.length;
        if (list.length > numwant) throw new Error('too many');
        if (list.length < Math.min(numwant, all + 1)) throw new Error(`too few: ${list.length}`);
        if (new Set(list.map(({ host, port }) => `${host} ${port}`)).size !== list.length)
          throw new Error('twice');
        if (list.some(({ peerId }) => peerId === id(0xffff))) throw new Error('the caller');
        if (numwant > 1 && list[list.length - 1]?.host !== seed.host) throw new Error('no origin');
      },
    ),
    { numRuns: 200 },
  );
  t.pass();
});

t.test('the zone first, then what is around it, and always a share from afar', async (t) => {
  const zoneOf = (number: number): string => ['eu1/r1', 'eu1/r2', 'us/r1', 'asia'][number % 4] ?? '';
  fc.assert(
    fc.property(fc.integer({ min: 4, max: 800 }), fc.integer({ min: 4, max: 40 }), (size, numwant) => {
      const { holder, choose } = swarm();
      for (let number = 0; number < size; number += 1) holder(number, { zone: zoneOf(number) });
      const list = choose({ numwant, zone: 'eu1/r1' });
      const inZone = (zone: string): number => list.filter((peer) => peer.zone === zone).length;
      const [own, near] = [inZone('eu1/r1'), inZone('eu1/r2')];
      const ownAll = Math.ceil(size / 4);
      const nearPlaces = Math.floor(numwant * 0.75);
      if (own < Math.min(ownAll, nearPlaces)) throw new Error(`${own} of the own zone`);
      if (list.length - own < Math.min(size - ownAll, numwant - nearPlaces))
        throw new Error('none from afar');
      const nearWanted = Math.min(Math.ceil((size - 1) / 4), nearPlaces - Math.min(ownAll, nearPlaces));
      if (near < nearWanted) throw new Error(`${near} of the zone beside, not ${nearWanted}`);
    }),
    { numRuns: 200 },
  );
  t.pass();
});

t.test('everybody finds everybody, however the zones come, and with a third of them gone', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 2, maxLength: 300 }),
      fc.boolean(),
      fc.integer(),
      (zones, inTurn, seedNumber) => {
        const order = inTurn ? [...zones].sort((a, b) => a - b) : zones;
        const { agents, members, choose } = swarm();
        const edges: Set<number>[] = order.map(() => new Set());
        for (const [number, zone] of order.entries()) {
          const self = { port: 7_001, zone: `z${zone}/r${number % 7}` };
          const ip = `10.1.${number >> 8}.${number & 255}`;
          agents.put(id(number), ip, self, []);
          const given = { ip, port: 7_001, peerId: id(number), zone: self.zone };
          members.set(blob, { ...given, left: 9, leased: true, expiresAt: 9_000 });
          for (const peer of choose({ ...given, numwant: 12 })) {
            const other = Number.parseInt(peer.peerId ?? '', 16);
            edges[number]?.add(other);
            edges[other]?.add(number);
          }
        }
        if (reachable(edges, () => true) !== order.length) throw new Error('an island');
        // Who is dead: each third one, the same in any run.
        const alive = (number: number): boolean => (number + Math.abs(seedNumber)) % 3 !== 0;
        const living = order.filter((_, number) => alive(number)).length;
        if (living - reachable(edges, alive) > living / 20) throw new Error('islands once a third is gone');
      },
    ),
    { numRuns: 60 },
  );
  t.pass();
});

/** How many of those are reached from the first of them. */
function reachable(edges: readonly ReadonlySet<number>[], alive: (number: number) => boolean): number {
  const first = edges.findIndex((_, number) => alive(number));
  const found = new Set(first === -1 ? [] : [first]);
  for (const number of found) for (const other of edges[number] ?? []) if (alive(other)) found.add(other);
  return found.size;
}

t.test('those who have begun are mixed with those who are nearly done', async (t) => {
  const { member, choose } = swarm();
  for (let number = 0; number < 400; number += 1) {
    member(number, { left: 100 });
    // The second announce: nine of ten are nearly done.
    if (number % 10 !== 0) member(number, { left: 5 });
  }
  let begun = 0;
  for (let round = 0; round < 100; round += 1) {
    begun += choose({ numwant: 20 }).filter(
      ({ peerId = '' }) => Number.parseInt(peerId, 16) % 10 === 0,
    ).length;
  }
  // Drawn blindly they would be 200 of 2,000.
  t.ok(begun > 270 && begun < 1_200, `${begun} of 2,000 have begun`);
});

t.test('each candidate has its turn, and nobody much more often than others', async (t) => {
  const { member, holder, choose } = swarm();
  for (let number = 0; number < 40; number += 1) {
    member(number, { left: 0 });
    holder(number + 500);
  }
  const times = new Map<string, number>();
  for (let round = 0; round < 400; round += 1) {
    for (const host of hosts(choose({ numwant: 8 }))) times.set(host, (times.get(host) ?? 0) + 1);
  }
  t.equal(times.size, 80);
  // 40 each; drawn blindly some would be named 60 times.
  t.ok(Math.max(...times.values()) <= 50, `at most ${Math.max(...times.values())} times`);
});

t.test('a seed hears of those who download only; who leaves, of nobody', async (t) => {
  const { member, holder, choose } = swarm();
  member(1);
  member(2, { left: 0 });
  holder(3);
  t.same(hosts(choose({ complete: true, seeds: [seed] })), ['10.0.0.1']);
  t.same(choose({ numwant: 0 }), []);
});

t.test('who cannot be reached is left out', async (t) => {
  const { member, holder, choose } = swarm();
  member(1, { port: 1 });
  member(2, { ip: '127.0.0.1' });
  member(6, { expiresAt: 900 });
  member(7, { leased: true });
  holder(3, { port: undefined });
  holder(4, { host: 'localhost' });
  holder(5);
  const seeds = [{ host: '127.0.0.1', ip: '127.0.0.1', port: 6881 }];
  t.same(hosts(choose({ seeds })), ['10.1.0.5'], 'not the loopback of another machine');
  t.same(hosts(choose({ seeds, ip: '127.0.0.1' })).sort(), [
    '10.1.0.5',
    '127.0.0.1',
    '127.0.0.1',
    'localhost',
  ]);
});

t.test('packed and described answers carry each peer', async (t) => {
  const { holder, choose } = swarm();
  holder(1, { host: 'a.example', zone: 'eu1' });
  holder(2, { host: '2001:db8::7' });
  const list = choose({ seeds: [{ host: 'origin.example', ip: undefined as unknown as string, port: 1 }] });
  const peerId = (number: number): string => Buffer.from(id(number), 'hex').toString('latin1');
  const described = describePeers(list, true).toString('latin1');
  t.ok(described.includes(`d2:ip9:a.example7:peer id20:${peerId(1)}4:porti7001e4:zone3:eu1e`));
  t.ok(described.includes(`d2:ip11:2001:db8::77:peer id20:${peerId(2)}4:porti7001ee`));
  t.ok(described.endsWith('d2:ip14:origin.example4:porti1eee'));
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
