import t from 'tap';
import { banKeys, createBans } from '../../../src/swarm/webtorrent/bans.ts';

const MINUTE = 60_000;

t.test('a ban ends, grows with each offence, and is forgotten', async (t) => {
  let now = 0;
  const bans = createBans(() => now);
  t.equal(bans.ban(['id:a', 'address:h:1']), MINUTE);
  t.ok(bans.banned(['id:a']));
  t.ok(bans.banned(['x', 'address:h:1']), 'by any key');
  t.notOk(bans.banned(['id:b']));
  now = MINUTE;
  t.notOk(bans.banned(['id:a', 'address:h:1']));
  t.equal(bans.ban(['address:h:1']), 2 * MINUTE, 'a new peer id does not reset an address');
  now += 2 * MINUTE;
  let longest = 0;
  for (let n = 0; n < 10; n++) {
    longest = bans.ban(['address:h:1']);
    now += longest;
  }
  t.equal(longest, 60 * MINUTE, 'an hour at most');
  now += 61 * MINUTE;
  t.equal(bans.ban(['address:h:1']), MINUTE);
});

t.test('the list is bounded', async (t) => {
  const bans = createBans(() => 0);
  for (let n = 0; n < 10_001; n++) bans.ban([`id:${n}`]);
  t.notOk(bans.banned(['id:0']));
  t.ok(bans.banned(['id:1']));
  t.ok(bans.banned(['id:10000']));
});

t.test('what identifies a member', async (t) => {
  const peerId = 'ab';
  t.strictSame(banKeys({ peerId, host: '10.0.0.1', port: 6881, direction: 'out' }), [
    'id:ab',
    'address:10.0.0.1:6881',
  ]);
  t.strictSame(banKeys({ peerId, host: '10.0.0.1', port: 50_000, direction: 'in' }), [
    'id:ab',
    'host:10.0.0.1',
  ]);
  t.strictSame(banKeys({ peerId: undefined, host: '10.0.0.1', port: 50_000, direction: 'in' }), [
    'host:10.0.0.1',
  ]);
  t.strictSame(banKeys({ peerId, host: '127.0.0.1', port: 50_000, direction: 'in' }), ['id:ab']);
});
