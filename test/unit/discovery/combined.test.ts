/** Two discoveries as one: the second steps in when the first fails or says nothing, and only then. */
import t from 'tap';
import { createCombinedDiscovery, createStaticDiscovery, type Discovery } from '#discovery';
import type { PeerAddress } from '#swarm';
import { randomInfoHash, until } from '../../support/tracker.ts';
import { discoveryContract } from './contract.ts';

const FIRST: readonly PeerAddress[] = [{ host: '127.0.0.1', port: 6001 }];
const SECOND: readonly PeerAddress[] = [{ host: '127.0.0.1', port: 6002 }];

/** Names nobody; says so, or that it failed, or nothing. */
function mute(says: boolean | 'nothing'): Discovery {
  const end = async (): Promise<void> => undefined;
  return {
    join({ onAnswered }) {
      if (says !== 'nothing') setImmediate(() => onAnswered?.(says));
      return { complete: end, leave: end };
    },
    hold: () => undefined,
    drop: () => undefined,
    close: end,
  };
}

function join(discovery: Discovery): { readonly heard: number[]; readonly answered: () => number } {
  const heard: number[] = [];
  let answered = 0;
  discovery.join({
    infoHash: randomInfoHash(),
    announce: [],
    left: () => 1,
    onPeers: (peers) => heard.push(...peers.map(({ port }) => port)),
    onAnswered: () => {
      answered += 1;
    },
  });
  return { heard, answered: () => answered };
}

t.test('while the first names members', (t) =>
  discoveryContract(t, async () => ({
    discovery: createCombinedDiscovery(createStaticDiscovery(FIRST), createStaticDiscovery(SECOND)),
    infoHash: randomInfoHash(),
    expected: ['127.0.0.1:6001'],
  })),
);

t.test('the first fails: the second is asked, and answers for both', async (t) => {
  const joined = join(createCombinedDiscovery(mute(false), createStaticDiscovery(SECOND)));
  await until(() => joined.answered() === 1);
  t.same(joined.heard, [6002]);
});

t.test('the first says nothing for a while: the second is asked', async (t) => {
  const joined = join(
    createCombinedDiscovery(mute('nothing'), createStaticDiscovery(SECOND), { patienceMs: 5 }),
  );
  await until(() => joined.answered() === 1);
  t.same(joined.heard, [6002]);
});

t.test('the first answers that there is nobody: that is believed at once', async (t) => {
  const joined = join(createCombinedDiscovery(mute(true), createStaticDiscovery(SECOND), { patienceMs: 5 }));
  await until(() => joined.answered() === 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.same(joined.heard, []);
  t.equal(joined.answered(), 1);
});
