/** Writes of rollouts: joined, in order, and what is told only once it is on the disk. */
import t from 'tap';
import { openJournal } from '../../../origin/rollouts/journal.ts';
import { newNode, type Rollout } from '../../../origin/rollouts/machine.ts';
import type { RolloutStore } from '../../../origin/rollouts/store.ts';

function rollout(): Rollout {
  return {
    ...{ id: 'r', kind: 'rollout', repository: 'a', image: 'a:v1', digest: 'sha256:0', platforms: [] },
    ...{ selector: '*', waves: 2, maxUnavailable: null, bytesPerSecond: null, createdAt: 0, trigger: 'test' },
    ...{ deadlineAt: 1, phase: 'running', wave: 0, reason: null, heldAt: null, endedAt: null },
    nodes: new Map(['a', 'b', 'c'].map((id) => [id, newNode(0)])),
  };
}

/** A disk whose writes end when they are told to. */
function slowDisk() {
  const writes: {
    readonly nodes: string[];
    readonly sync: boolean;
    readonly end: (error?: Error) => void;
  }[] = [];
  const store: RolloutStore = {
    load: async () => ({ rollouts: [], nodes: [] }),
    save: (_, nodes, sync) =>
      new Promise((resolve, reject) => {
        writes.push({ nodes: [...nodes], sync, end: (error) => (error ? reject(error) : resolve()) });
      }),
    forget: async () => undefined,
    saveNodes: async () => undefined,
    forgetNode: async () => undefined,
    close: async () => undefined,
  };
  return { store, writes };
}
const turns = () => new Promise((resolve) => setImmediate(resolve));

t.test('what is noted during a write is in the next, together', async (t) => {
  const { store, writes } = slowDisk();
  const it = rollout();
  const journal = openJournal({
    ...{ store, kept: [it], nodes: { takeUnsaved: () => [] }, onStanding: () => undefined },
  });
  journal.note(it, ['a'], true);
  const ends: string[] = [];
  const first = journal.settled().then(() => ends.push('a'));
  journal.note(it, ['b'], true);
  const second = journal.settled().then(() => ends.push('b'));
  journal.note(it, ['c'], true);
  const third = journal.settled().then(() => ends.push('c'));
  await turns();
  t.same(ends, []);
  writes[0]?.end();
  await first;
  await turns();
  t.same(ends, ['a']);
  t.same(
    writes.map(({ nodes }) => nodes),
    [['a'], ['b', 'c']],
  );
  writes[1]?.end();
  await Promise.all([second, third]);
  t.same(ends, ['a', 'b', 'c']);
  journal.note(it, ['a'], false);
  await journal.settled();
  t.equal(writes.length, 2, 'nobody waits for progress');
  const flushed = journal.flush();
  await turns();
  t.match(writes[2], { nodes: ['a'], sync: false });
  writes[2]?.end();
  await flushed;
});

t.test('orders follow what is on the disk; what could not be written is tried again', async (t) => {
  const { store, writes } = slowDisk();
  const it = rollout();
  let moved = 0;
  const journal = openJournal({
    ...{ store, kept: [it], nodes: { takeUnsaved: () => [] } },
    onStanding: () => {
      moved += 1;
    },
  });
  it.wave = 1;
  journal.note(it, [], true);
  const failing = t.rejects(journal.settled(), /no space/);
  await turns();
  t.match(journal.standing(it), { wave: 0 });
  writes[0]?.end(new Error('no space'));
  await failing;
  t.match(journal.standing(it), { wave: 0 });
  t.equal(moved, 0);
  const again = journal.settled();
  await turns();
  t.match(writes[1], { sync: true });
  writes[1]?.end();
  await again;
  t.match(journal.standing(it), { wave: 1 });
  t.equal(moved, 1);
});
