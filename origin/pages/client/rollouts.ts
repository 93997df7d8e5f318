/** Rollouts as rows: in the overview those that run, and a page of all. */
import { type ComponentChildren, Fragment, h } from 'preact';
import { formatTime } from './format.ts';
import { useJson } from './json.ts';
import { Card, doneText, Empty, NodesBar, type Part, Problem, StateMark, Title } from './parts.ts';
import { href } from './router.ts';

export interface RolloutSummary {
  readonly id: string;
  readonly kind: string;
  readonly image: string;
  readonly state: string;
  readonly reason: string | null;
  readonly wave: number;
  readonly waveCount: number;
  readonly createdAt: string;
  readonly endedAt: string | null;
  readonly nodes: Part;
}

export function RolloutRows({
  rollouts,
  none,
}: {
  readonly rollouts: readonly RolloutSummary[];
  readonly none: string;
}): ComponentChildren {
  if (rollouts.length === 0) return h(Empty, null, none);
  return h(
    'ul',
    { class: 'rows rollouts' },
    rollouts.map((rollout) =>
      h(
        'li',
        { key: rollout.id },
        h(
          'span',
          { class: 'name' },
          h('a', { href: href('rollouts', rollout.id) }, rollout.image),
          h(StateMark, { state: rollout.state }),
        ),
        h(NodesBar, { part: rollout.nodes, label: rollout.image }),
        h('span', { class: 'note' }, `${doneText(rollout.nodes)} · ${stageOf(rollout)}`),
      ),
    ),
  );
}

function stageOf({ kind, wave, waveCount, createdAt, endedAt }: RolloutSummary): string {
  if (endedAt !== null) return `ended ${formatTime(endedAt)}`;
  return kind === 'prefetch' ? `prefetch since ${formatTime(createdAt)}` : `wave ${wave} of ${waveCount}`;
}

export function RolloutsPage(): ComponentChildren {
  const { value, problem } = useJson<{ rollouts: readonly RolloutSummary[] }>('/api/v1/rollouts');
  const all = value?.rollouts ?? [];
  return h(
    Fragment,
    null,
    h(Title, { text: 'Rollouts' }),
    problem !== undefined && h(Problem, { text: problem }),
    value !== undefined &&
      h(
        Fragment,
        null,
        h(
          Card,
          { title: 'Under way' },
          h(RolloutRows, {
            rollouts: all.filter(({ endedAt }) => endedAt === null),
            none: 'No rollout runs now. shoal rollout create begins one.',
          }),
        ),
        h(
          Card,
          { title: 'Ended' },
          h(RolloutRows, {
            rollouts: all.filter(({ endedAt }) => endedAt !== null),
            none: 'None has ended yet.',
          }),
        ),
      ),
  );
}
