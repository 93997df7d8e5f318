/** The compact inventories against a plain model: sets of strings. */
import fc from 'fast-check';
import t from 'tap';
import type { InfoHash } from '#torrent';
import { createAgents } from '../../../tracker/agents.ts';
import { createBlobIds } from '../../../tracker/blob-ids.ts';
import { createZonedLists, lengthOf, slotAt, type ZonedList } from '../../../tracker/zoned-list.ts';
import { createZones } from '../../../tracker/zones.ts';

const id = (number: number): string => number.toString(16).padStart(40, '0');
const blob = (number: number): InfoHash => id(number) as InfoHash;

t.test('infohashes keep their numbers, and numbers that were given back are used again', async (t) => {
  const operation = fc.tuple(fc.boolean(), fc.nat(300));
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 3_000 }), (operations) => {
      const ids = createBlobIds();
      const model = new Map<InfoHash, number>();
      for (const [comes, number] of operations) {
        // Spread over all the words.
        const infoHash = blob(number).split('').reverse().join('').replace(/^0/, 'f') as InfoHash;
        const known = model.get(infoHash);
        if (comes) {
          const given = ids.intern(infoHash);
          if (known !== undefined && known !== given) throw new Error('another number');
          if (known === undefined && [...model.values()].includes(given)) throw new Error('a number twice');
          model.set(infoHash, given);
        } else if (known !== undefined) {
          ids.release(known);
          model.delete(infoHash);
        }
        if (ids.size !== model.size) throw new Error('size');
      }
      for (const [infoHash, number] of model) {
        if (ids.find(infoHash) !== number || ids.infoHashOf(number) !== infoHash) throw new Error(infoHash);
      }
      if (ids.find('9'.repeat(40) as InfoHash) !== undefined) throw new Error('found what is not there');
    }),
    { numRuns: 100 },
  );
  t.pass();
});

t.test('a sorted list of slots is a set, sorted by the zone, at any size', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(80)), { maxLength: 600 }), (operations) => {
      const rankOf = (slot: number): number => (slot * 7) % 5;
      const lists = createZonedLists(rankOf);
      let list: ZonedList | undefined;
      const model = new Set<number>();
      for (const [comes, slot] of operations) {
        if (comes) list = lists.add(list, slot);
        else if (list !== undefined) list = lists.remove(list, slot);
        if (comes) model.add(slot);
        else model.delete(slot);
        if (lengthOf(list) !== model.size || lists.has(list, slot) !== comes) throw new Error('not a set');
      }
      const slots = Array.from({ length: lengthOf(list) }, (_, place) => slotAt(list, place));
      const sorted = [...model].sort((a, b) => rankOf(a) - rankOf(b) || a - b);
      if (String(slots) !== String(sorted)) throw new Error(`${slots} is not ${sorted}`);
      for (let rank = 0; rank <= 5; rank += 1) {
        const place = lists.placeOfRank(list, rank);
        if (place !== sorted.filter((slot) => rankOf(slot) < rank).length) throw new Error('place of a rank');
      }
      if (slotAt(list, slots.length) !== -1 || slotAt(list, -1) !== -1) throw new Error('behind the end');
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('the zones of a level are neighbours, whatever comes and goes', async (t) => {
  const label = fc.constantFrom('eu', 'eu-b', 'eu.c', 'a', 'a1', '_', 'Z');
  const name = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('/'));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), name), { maxLength: 80 }), name, (operations, mine) => {
      const zones = createZones();
      const taken = new Map<number, string>();
      const users: number[] = [];
      for (const [comes, zone] of operations) {
        if (comes || users.length === 0) {
          const number = zones.take(zone);
          taken.set(number, zone);
          users.push(number);
        } else zones.release(users.shift() ?? 0);
      }
      const levels = zones.levels(mine);
      const prefixes = mine
        .split('/')
        .map((_, depth, labels) => labels.slice(0, labels.length - depth).join('/'));
      for (const number of new Set(users)) {
        const zone = taken.get(number) ?? '';
        if (zones.nameOf(number) !== zone) throw new Error('name');
        for (const [level, prefix] of prefixes.entries()) {
          const { from = 0, to = 0 } = levels[level] ?? {};
          const inside = zones.rank(number) >= from && zones.rank(number) < to;
          if (inside !== (zone === prefix || zone.startsWith(`${prefix}/`)))
            throw new Error(`${zone} in ${prefix}`);
        }
      }
      const everything = levels.at(-1);
      if (everything?.from !== 0 || everything.to !== new Set(users).size + 1) throw new Error('everything');
      if (levels.length !== prefixes.length + 1) throw new Error('levels');
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('inventories are what sets of strings would be, through changes, moves and deaths', async (t) => {
  const some = fc.array(fc.nat(60), { maxLength: 40 });
  const zone = fc.constantFrom(undefined, 'eu/1', 'eu/2', 'us');
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('put' as const), agent: fc.nat(25), zone, blobs: some }),
    fc.record({ kind: fc.constant('patch' as const), agent: fc.nat(25), add: some, remove: some }),
    fc.record({ kind: fc.constant('delete' as const), agent: fc.nat(25) }),
    fc.record({ kind: fc.constant('time' as const), ms: fc.nat(70) }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
      let now = 1_000;
      const held: string[] = [];
      const agents = createAgents({
        leaseMs: 100,
        limits: { agents: 100, blobsPerAgent: 1_000, held: 10_000 },
        zones: createZones(),
        now: () => now,
        onHold: ({ peerId }, infoHash) => held.push(`${peerId} ${infoHash}`),
        onGone: () => undefined,
      });
      const model = new Map<number, { blobs: Set<number>; seenAt: number; zone: string | undefined }>();
      const current = (agent: number) => {
        const known = model.get(agent);
        if (known !== undefined && now - known.seenAt >= 100) model.delete(agent);
        return model.get(agent);
      };
      for (const step of operations) {
        if (step.kind === 'time') {
          now += step.ms;
          agents.sweep();
          continue;
        }
        const ip = `10.0.0.${step.agent}`;
        const known = current(step.agent);
        if (step.kind === 'put') {
          agents.put(id(step.agent), ip, { port: 1_000, zone: step.zone }, step.blobs.map(blob));
          model.set(step.agent, { blobs: new Set(step.blobs), seenAt: now, zone: step.zone });
        } else if (step.kind === 'delete') {
          agents.delete(id(step.agent), ip);
          model.delete(step.agent);
        } else {
          const change = { add: step.add.map(blob), remove: step.remove.map(blob) };
          const result = agents.patch(id(step.agent), ip, change);
          if (result !== (known === undefined ? 'unknown' : 'done')) throw new Error(result);
          if (known === undefined) continue;
          known.seenAt = now;
          for (const number of step.remove) known.blobs.delete(number);
          for (const number of step.add) known.blobs.add(number);
        }
      }
      for (const agent of [...model.keys()]) current(agent);
      agents.sweep();
      if (agents.size !== model.size) throw new Error(`${agents.size} agents, not ${model.size}`);
      const sum = [...model.values()].reduce((total, { blobs }) => total + blobs.size, 0);
      if (agents.counts().held !== sum) throw new Error('held');
      const names = new Set([...model.values()].flatMap(({ blobs }) => [...blobs]));
      if (agents.counts().blobs !== names.size) throw new Error('blobs');
      for (let number = 0; number <= 60; number += 1) {
        const holders = agents.holders(blob(number));
        const got = Array.from({ length: holders.size }, (_, place) => holders.at(place));
        const expected = [...model].filter(([, { blobs }]) => blobs.has(number)).map(([agent]) => id(agent));
        if (String(got.map((agent) => agent?.peerId).sort()) !== String(expected.sort()))
          throw new Error('holders');
        for (const agent of got) {
          if (agent === undefined || !agents.holds(agent, blob(number))) throw new Error('holds');
          if (agent.zone !== model.get(Number.parseInt(agent.peerId, 16))?.zone) throw new Error('zone');
        }
      }
      if (new Set(held).size > held.length) throw new Error('unreachable');
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('changes are numbered: one that is lost, repeated or late is known as that', async (t) => {
  const agents = createAgents({
    leaseMs: 100,
    limits: { agents: 10, blobsPerAgent: 100, held: 100 },
    zones: createZones(),
    now: () => 1,
    onHold: () => undefined,
    onGone: () => undefined,
  });
  const ip = '10.0.0.1';
  const patch = (sequence: number | undefined, add: number[], remove: number[] = []): string =>
    agents.patch(id(1), ip, { sequence, add: add.map(blob), remove: remove.map(blob) });
  const has = (number: number): boolean => agents.holders(blob(number)).size === 1;

  t.equal(agents.put(id(1), ip, { port: 1 }, [blob(1)], 5), 'done');
  t.equal(patch(6, [2]), 'done');
  t.equal(patch(7, [], [2]), 'done');
  t.equal(patch(6, [2]), 'gap', 'it was under way longer than the one after it');
  t.notOk(has(2));
  t.equal(patch(7, [], [2]), 'done', 'the answer was lost');
  t.equal(patch(9, [3]), 'gap', 'the one before it never came');
  t.notOk(has(3));
  t.equal(
    agents.put(id(1), ip, { port: 1 }, [blob(3)], 6),
    'gap',
    'an inventory that is older than what is known',
  );
  t.ok(has(1));
  t.equal(agents.put(id(1), ip, { port: 1 }, [blob(3)], 10), 'done');
  t.same([has(1), has(3)], [false, true]);
  t.equal(patch(undefined, [4]), 'done', 'who does not number is believed');
  t.equal(agents.put(id(2), '10.0.0.2', { port: 1 }, []), 'done');
  t.equal(agents.patch(id(2), '10.0.0.2', { sequence: 3, add: [], remove: [] }), 'gap', 'nothing to follow');
});
