import fc from 'fast-check';
import t from 'tap';
import {
  formatMember,
  formatMultiaddr,
  type MemberAddress,
  parseMembers,
  parseMultiaddr,
  plainPort,
} from '#multiaddr';
import { createIdentity } from '#swarm';

const ID = '12D3KooWGRUZyeVLKnWqZzYVbG4aVmfBcXPjTeJcb5HrSmGDnBBu';
const OTHER = '12D3KooWHFKTMzwerBtsVmtz4ZZEQy2heafxzWw6wNn5PPYkBxJ5';

t.test('the one form that members have', async (t) => {
  const { peerId } = await createIdentity();
  for (const [text, host] of [
    [`/ip4/10.0.0.7/tcp/4001/p2p/${peerId}`, '10.0.0.7'],
    [`/ip6/2001:db8::7/tcp/4001/p2p/${peerId}`, '2001:db8::7'],
    [`/dns/node-7.example/tcp/4001/p2p/${peerId}`, 'node-7.example'],
  ] as const) {
    t.strictSame(parseMultiaddr(text), { host, port: 4001, peerId });
    t.equal(formatMultiaddr({ host, port: 4001, peerId }), text);
  }
  t.strictSame(parseMultiaddr(`/tcp/1/p2p/${peerId}`), { port: 1, peerId }, 'the short form');
  t.strictSame(parseMultiaddr(`/dns4/a.example/tcp/1/p2p/${ID}`)?.host, 'a.example');
});

t.test('nothing else', async (t) => {
  for (const text of [
    '',
    ID,
    `/p2p/${ID}`,
    `/tcp/0/p2p/${ID}`,
    `/tcp/01/p2p/${ID}`,
    `/tcp/65536/p2p/${ID}`,
    `/tcp/1/p2p/${ID.slice(1)}`,
    `/tcp/1/p2p/${ID.replace('G', '0')}`,
    `/tcp/1/p2p/${ID}/p2p-circuit`,
    `/tcp/1/ws/p2p/${ID}`,
    `/udp/1/quic-v1/p2p/${ID}`,
    `/ip4/10.0.0.7.1/tcp/1/p2p/${ID}`,
    `/ip4/host/tcp/1/p2p/${ID}`,
    `/ip6/10.0.0.7/tcp/1/p2p/${ID}`,
    `/ip6/fe80::1%eth0/tcp/1/p2p/${ID}`,
    `/dns/a b/tcp/1/p2p/${ID}`,
    `/dns/-a/tcp/1/p2p/${ID}`,
    `/dns/${'a'.repeat(254)}/tcp/1/p2p/${ID}`,
    `/dns//tcp/1/p2p/${ID}`,
    `/tcp/1/p2p/${ID}\n`,
    ` /tcp/1/p2p/${ID}`,
  ]) {
    t.equal(parseMultiaddr(text), undefined, text);
  }
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => parseMultiaddr(text) === undefined));
});

t.test('members as texts and back', async (t) => {
  const members: MemberAddress[] = [
    { host: '10.0.0.1', port: 6881 },
    { host: '10.0.0.2', port: 6881, libp2p: { port: 4001, peerId: ID } },
    { host: '2001:db8::3', port: 4001, libp2p: { port: 4001, peerId: OTHER } },
  ];
  const texts = members.flatMap(formatMember);
  t.strictSame(texts, [
    '10.0.0.1:6881',
    '10.0.0.2:6881',
    `/ip4/10.0.0.2/tcp/4001/p2p/${ID}`,
    `/ip6/2001:db8::3/tcp/4001/p2p/${OTHER}`,
  ]);
  t.strictSame(parseMembers(texts), members);
  t.strictSame(members.map(plainPort), [6881, 6881, undefined]);
  t.strictSame(parseMembers(['', 'a', 'a:0', 'a:65536', 'a b:1', '/x', `/tcp/1/p2p/${ID}`]), []);
  t.strictSame(
    parseMembers([`/ip4/10.0.0.2/tcp/4001/p2p/${ID}`, '10.0.0.2:6881']).length,
    2,
    'who names libp2p first is a member of its own',
  );
});
