/** Who counts as away: by what was heard, by the clock, and after the origin's own restart. */
import t from 'tap';
import { createNodes } from '../../../origin/rollouts/nodes.ts';
import type { KnownNode } from '../../../origin/rollouts/store.ts';

const said = { name: 'node', known: '' };

t.test('a broken connection counts soon, silence later, a word at once', async (t) => {
  let at = 0;
  const nodes = createNodes([], () => at);
  t.equal(nodes.isAway('a'), true, 'nobody has heard of it');
  nodes.seen('a', said);
  nodes.left('a');
  at = 5_000;
  t.equal(nodes.isAway('a'), false, 'an agent that restarts');
  at = 11_000;
  t.equal(nodes.isAway('a'), true);
  nodes.seen('a', said);
  t.equal(nodes.isAway('a'), false);
  at += 76_000;
  t.equal(nodes.isAway('a'), true, 'silent');
});

t.test('after a restart who was away is away until it speaks; others have time to come back', async (t) => {
  let at = 0;
  const first = createNodes([], () => at);
  const disk = new Map<string, KnownNode>();
  const write = (): void => {
    first.lookWhoIsAway();
    for (const node of first.takeUnsaved()) disk.set(node.id, node);
  };
  for (const id of ['gone', 'back', 'here']) first.seen(id, said);
  write();
  for (const id of ['gone', 'back']) first.left(id);
  at = 20_000;
  write();
  first.seen('back', said);
  write();
  t.same(
    [...disk.values()].filter(({ away }) => away).map(({ id }) => id),
    ['gone'],
  );

  at = 3_600_000;
  const second = createNodes([...disk.values()], () => at);
  t.equal(second.isAway('gone'), true);
  t.equal(second.isAway('back'), false);
  t.equal(second.isAway('here'), false);
  second.seen('gone', said);
  t.equal(second.isAway('gone'), false);
  at += 76_000;
  t.equal(second.isAway('here'), true);
});
