/**
 * What every Discovery does. An implementation's test hands in a way to make one that will learn of
 * `expected` members, and the suite checks the port's promises.
 */
import type { Test } from 'tap';
import type { Discovery, Membership } from '#discovery';
import { formatHostPort } from '#http';
import type { PeerAddress } from '#swarm';
import type { InfoHash } from '#torrent';
import { randomInfoHash, until } from '../../support/tracker.ts';

export interface Subject {
  readonly discovery: Discovery;
  readonly infoHash: InfoHash;
  /** host:port of the members that are there. */
  readonly expected: readonly string[];
}

export async function discoveryContract(t: Test, make: (t: Test) => Promise<Subject>): Promise<void> {
  const listen = ({ discovery, infoHash }: Subject): { heard: Set<string>; membership: Membership } => {
    const heard = new Set<string>();
    const onPeers = (peers: readonly PeerAddress[]): void => {
      for (const peer of peers) heard.add(formatHostPort(peer));
    };
    return { heard, membership: discovery.join({ infoHash, announce: [], left: () => 1, onPeers }) };
  };

  await t.test('who joins hears of the members, after join has returned', async (t) => {
    const subject = await make(t);
    const { heard } = listen(subject);
    t.equal(heard.size, 0);
    await until(() => heard.size >= subject.expected.length);
    t.same([...heard].sort(), [...subject.expected].sort());
    await subject.discovery.close();
  });

  await t.test('who left at once hears of nobody; ending twice is harmless', async (t) => {
    const subject = await make(t);
    const left = listen(subject);
    await left.membership.leave();
    await left.membership.leave();
    await left.membership.complete();
    const other = listen(subject);
    await until(() => other.heard.size >= subject.expected.length);
    t.equal(left.heard.size, 0);
    await subject.discovery.close();
  });

  await t.test('a completed member ends, and can join again', async (t) => {
    const subject = await make(t);
    const first = listen(subject);
    await until(() => first.heard.size >= subject.expected.length);
    subject.discovery.hold([subject.infoHash]);
    await first.membership.complete();
    subject.discovery.drop([subject.infoHash]);
    const second = listen(subject);
    await until(() => second.heard.size >= subject.expected.length);
    await second.membership.leave();
    await subject.discovery.close();
  });

  await t.test('several blobs at once, held and dropped in any order', async (t) => {
    const subject = await make(t);
    const held = Array.from({ length: 100 }, randomInfoHash);
    subject.discovery.drop(held);
    subject.discovery.hold(held);
    subject.discovery.hold(new Set(held));
    subject.discovery.drop(held.values());
    const other = listen({ ...subject, infoHash: randomInfoHash() });
    const known = listen(subject);
    await until(() => known.heard.size >= subject.expected.length);
    await Promise.all([other.membership.leave(), known.membership.leave()]);
    await subject.discovery.close();
    t.pass('nothing rejected');
  });

  await t.test('close ends everything, twice is harmless, and later calls do nothing', async (t) => {
    const subject = await make(t);
    const before = listen(subject);
    await Promise.all([subject.discovery.close(), subject.discovery.close()]);
    const heardAtClose = before.heard.size;
    subject.discovery.hold([subject.infoHash]);
    subject.discovery.drop([subject.infoHash]);
    const after = listen(subject);
    await Promise.all([before.membership.leave(), after.membership.leave(), after.membership.complete()]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    t.same([before.heard.size, after.heard.size], [heardAtClose, 0]);
  });
}
