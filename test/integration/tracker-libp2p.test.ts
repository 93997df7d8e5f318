/** Multiaddrs in inventories and announces: who is told of them, and what is refused. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { parseAnswer } from '../../src/discovery/bencoded-answer.ts';
import { announce, announceUrl, randomInfoHash, trackerHere } from '../support/tracker.ts';

const id = (): string => randomBytes(20).toString('hex');
const KEY = '12D3KooWGRUZyeVLKnWqZzYVbG4aVmfBcXPjTeJcb5HrSmGDnBBu';
const OTHER = '12D3KooWHFKTMzwerBtsVmtz4ZZEQy2heafxzWw6wNn5PPYkBxJ5';
const dialOnly = `&peer=${encodeURIComponent(`/tcp/1/p2p/${OTHER}`)}`;

const put = (url: string, agent: string, body: object): Promise<Response> =>
  fetch(`${url}/api/v1/agents/${agent}`, { method: 'PUT', body: JSON.stringify(body) });

async function told(url: string, given: Parameters<typeof announceUrl>[1]) {
  const answer = await fetch(announceUrl(url, given));
  return parseAnswer(Buffer.from(await answer.arrayBuffer()), given.peerId).peers;
}

t.test('who speaks libp2p is told of multiaddrs; a standard announce is answered as ever', async (t) => {
  const blob = randomInfoHash();
  const seed = { host: '127.0.0.1', port: 4001, libp2p: { port: 4001, peerId: OTHER } };
  const tracker = await trackerHere(t, new Map([[blob, [seed]]]));
  await put(tracker.url, id(), { port: 7001, peer: `/tcp/4002/p2p/${KEY}`, blobs: [blob] });
  const caller = { infoHash: blob, peerId: id(), port: 7009 };
  t.same(await told(tracker.url, { ...caller, more: dialOnly }), [
    { host: '127.0.0.1', port: 7001, libp2p: { port: 4002, peerId: KEY } },
    seed,
  ]);
  t.same(await announce(tracker.url, caller), ['127.0.0.1:7001']);
  t.same(await announce(tracker.url, { ...caller, compact: 1 }), ['127.0.0.1:7001']);
  const text = await (await fetch(announceUrl(tracker.url, caller))).text();
  t.notOk(text.includes('p2p'), 'nothing of it in the answer');
});

t.test('an announce without an inventory tells its multiaddr too', async (t) => {
  const blob = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[blob, []]]));
  const more = `&peer=${encodeURIComponent(`/ip4/10.6.6.6/tcp/4002/p2p/${KEY}`)}`;
  await announce(tracker.url, { infoHash: blob, peerId: id(), port: 1, more });
  const caller = { infoHash: blob, peerId: id(), port: 7009 };
  t.same(
    await told(tracker.url, { ...caller, more: dialOnly }),
    [{ host: '127.0.0.1', port: 4002, libp2p: { port: 4002, peerId: KEY } }],
    'at the address that it spoke from, whatever it says',
  );
  t.same(await announce(tracker.url, { ...caller, peerId: id() }), []);
});

t.test('an agent that starts again with the same key takes the place of the one before', async (t) => {
  const blob = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[blob, []]]));
  await put(tracker.url, id(), { peer: `/tcp/4002/p2p/${KEY}`, blobs: [blob] });
  await put(tracker.url, id(), { peer: `/dns/node7.example/tcp/4003/p2p/${KEY}`, blobs: [blob] });
  const { agents } = (await (await fetch(`${tracker.url}/api/v1/agents`)).json()) as {
    agents: { peer: string; address: string | null }[];
  };
  t.strictSame(
    agents.map(({ peer, address }) => [peer, address]),
    [[`/dns/node7.example/tcp/4003/p2p/${KEY}`, null]],
  );
});

t.test('what is no multiaddr is refused with the reason', async (t) => {
  const tracker = await trackerHere(t, new Map());
  for (const peer of [
    '',
    7,
    KEY,
    `/tcp/0/p2p/${KEY}`,
    `/ip4/1.2.3/tcp/1/p2p/${KEY}`,
    `/dns/1.2.3.4.5/tcp/1/p2p/${KEY}`,
    `/tcp/1/p2p/${'1'.repeat(52)}`,
    `/tcp/1/p2p/${KEY}${'/p2p-circuit'.repeat(40)}`,
  ]) {
    const answer = await put(tracker.url, id(), { peer, blobs: [] });
    t.equal(answer.status, 400, String(peer));
    t.match(((await answer.json()) as { detail: string }).detail, /^peer: /);
  }
  const two = { peer: `/ip4/10.0.0.7/tcp/1/p2p/${KEY}`, host: '10.0.0.8', blobs: [] };
  t.equal((await put(tracker.url, id(), two)).status, 400, 'two hosts');
});
