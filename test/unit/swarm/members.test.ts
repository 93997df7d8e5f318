import t from 'tap';
import { createMembers } from '../../../src/swarm/webtorrent/members.ts';

const VIEW = { now: 0, connected: 0, originUse: 'none', refused: () => false } as const;

t.test('the origin is dialled only when it is wanted, and then first', async (t) => {
  const members = createMembers();
  members.add([
    { host: 'a', port: 1 },
    { host: 'o', port: 2 },
  ]);
  members.add([{ host: 'o', port: 2, role: 'origin' }]);
  members.add([{ host: 'o', port: 2, role: 'agent' }]);
  t.equal(members.get('o', 2)?.role, 'origin', 'whoever knows better wins');
  t.strictSame(
    members.due(VIEW).map((member) => member.host),
    ['a'],
  );
  t.strictSame(
    members.due({ ...VIEW, originUse: 'missing' }).map((member) => member.host),
    ['o', 'a'],
  );
  t.equal(members.introducing(0), 1, 'the origin is not waited for');
});

t.test('a member that fails is tried again later and later', async (t) => {
  const members = createMembers();
  members.add([{ host: 'a', port: 1 }]);
  const member = members.get('a', 1);
  if (!member) throw new Error('not known');
  const waits: number[] = [];
  let now = 0;
  for (let n = 0; n < 5; n++) {
    member.state = 'dialling';
    t.equal(members.due({ ...VIEW, now }).length, 0, 'not twice at once');
    members.ended(member, now, false);
    waits.push(member.retryAt - now);
    t.equal(members.due({ ...VIEW, now: member.retryAt - 1 }).length, 0);
    now = member.retryAt;
    t.equal(members.due({ ...VIEW, now }).length, 1);
  }
  t.strictSame(waits, [1_000, 5_000, 15_000, 60_000, 60_000]);
  members.ended(member, now, true);
  t.equal(member.retryAt - now, 1_000, 'one that was of use starts anew');
  t.equal(members.introducing(now + 1_000), 0, 'and is no reason to wait');
});

t.test('many members, hostile members', async (t) => {
  const members = createMembers();
  members.add(Array.from({ length: 1000 }, (_, n) => ({ host: `h${n}`, port: 1 })));
  members.add([
    { host: 'bad', port: 0 },
    { host: 'bad', port: 65_536 },
  ]);
  t.equal(members.get('bad', 0), undefined);
  t.equal(members.introducing(0), 500);
  t.equal(members.due(VIEW).length, 10, 'ten at once');
  t.equal(members.due({ ...VIEW, connected: 28 }).length, 2, 'thirty in all');
  t.equal(members.due({ ...VIEW, refused: () => true }).length, 0, 'banned ones not at all');
  members.add([{ host: 'origin', port: 1, role: 'origin' }]);
  t.ok(members.get('origin', 1), 'there is always room for the origin');
});
