/** The cluster in one look: nodes, what is held and served, rollouts, upstreams. */
import { type ComponentChildren, Fragment, h } from 'preact';
import { formatBytes, formatCount, formatSeconds, shortDigest } from './format.ts';
import { useJson } from './json.ts';
import { useLive, valuesOf } from './live.ts';
import {
  AmountBar,
  Card,
  type Column,
  Empty,
  LiveMark,
  Problem,
  StateMark,
  Table,
  Tile,
  Title,
} from './parts.ts';
import { RolloutRows, type RolloutSummary } from './rollouts.ts';
import { href } from './router.ts';

interface Overview {
  readonly startedAt: string;
  readonly nodes: { readonly here: number; readonly away: number };
  readonly blobs: { readonly count: number; readonly bytes: number };
  readonly blobBytes: { readonly in: number; readonly out: number };
  readonly tracker: { readonly agents: number; readonly blobs: number; readonly held: number };
  readonly torrents: { readonly hashing: number };
  readonly rollouts: { readonly active: number; readonly ended: number };
  readonly upstreams: {
    readonly fetching: number;
    readonly registries: readonly {
      readonly name: string;
      readonly url: string;
      readonly reachable: boolean | null;
    }[];
  };
}

export function OverviewPage(): ComponentChildren {
  const live = useLive('/api/v1/live/overview');
  const { feed } = live;
  return h(
    Fragment,
    null,
    h(Title, { text: 'Overview' }),
    h(LiveMark, { live }),
    feed?.['nodes'] !== undefined &&
      h(Known, { now: feed as unknown as Overview, rollouts: valuesOf<RolloutSummary>(feed, 'rollout.') }),
  );
}

function Known({
  now,
  rollouts,
}: {
  readonly now: Overview;
  readonly rollouts: readonly RolloutSummary[];
}): ComponentChildren {
  const { nodes, blobs, blobBytes, tracker, upstreams } = now;
  const running = rollouts.filter(({ endedAt }) => endedAt === null);
  const ended = rollouts.filter(({ endedAt }) => endedAt !== null);
  return h(
    Fragment,
    null,
    h(
      'dl',
      { class: 'tiles big' },
      h(Tile, {
        label: 'Nodes here',
        value: formatCount(nodes.here),
        note: nodes.away === 0 ? 'none away' : `${formatCount(nodes.away)} away`,
      }),
      h(Tile, {
        label: 'Rollouts under way',
        value: formatCount(now.rollouts.active),
        note: `${formatCount(now.rollouts.ended)} ended`,
      }),
      h(Tile, {
        label: 'Held here',
        value: formatBytes(blobs.bytes),
        note: `${formatCount(blobs.count)} blobs`,
      }),
      h(Tile, {
        label: 'Copies on nodes',
        value: formatCount(tracker.held),
        note: `of ${formatCount(tracker.blobs)} blobs, on ${formatCount(tracker.agents)} agents`,
      }),
      h(Tile, {
        label: 'Sent by the origin',
        value: formatBytes(blobBytes.out),
        note: `in ${formatSeconds((Date.now() - Date.parse(now.startedAt)) / 1000)} since its start`,
      }),
      h(Tile, { label: 'Received', value: formatBytes(blobBytes.in), note: 'pushes and upstreams' }),
    ),
    h(
      Card,
      { title: 'Under way' },
      h(RolloutRows, { rollouts: running, none: 'No rollout runs now. shoal rollout create begins one.' }),
    ),
    h(
      Card,
      { title: 'Ended lately', note: h('a', { href: href('rollouts') }, 'all rollouts') },
      h(RolloutRows, { rollouts: ended, none: 'None has ended yet.' }),
    ),
    h(Saved, null),
    h(
      Card,
      {
        title: 'Upstreams',
        note: upstreams.fetching === 0 ? undefined : `${formatCount(upstreams.fetching)} blobs on their way`,
      },
      upstreams.registries.length === 0
        ? h(Empty, null, 'This origin serves what is pushed to it, and knows no other registry.')
        : h(
            'ul',
            { class: 'plain' },
            upstreams.registries.map(({ name, url, reachable }) =>
              h(
                'li',
                { key: name },
                h('strong', null, name),
                ` ${url} `,
                h(StateMark, {
                  state: reachable === null ? 'not asked yet' : reachable ? 'reachable' : 'unreachable',
                }),
              ),
            ),
          ),
    ),
  );
}

interface Line {
  readonly savedBytes: number;
  /** Null: nothing was fetched. */
  readonly egressRatio: number | null;
}

interface ImageLine extends Line {
  readonly repository: string | null;
  readonly digest: string | null;
  readonly tags: readonly string[];
}

interface Report {
  readonly total: Line;
  readonly days: readonly (Line & { readonly day: string })[];
  readonly images: readonly ImageLine[];
}

const IMAGES: readonly Column<ImageLine>[] = [
  {
    title: 'Image',
    cell: ({ repository, digest, tags }) => {
      const [reference = digest] = tags;
      if (repository === null || reference === null) return repository ?? 'blobs of no known image';
      const name =
        reference === digest ? `${repository}@${shortDigest(reference)}` : `${repository}:${reference}`;
      return h('a', { href: href('images', repository, reference) }, name);
    },
  },
  { title: 'Saved', cell: ({ savedBytes }) => formatBytes(savedBytes), numeric: true },
  {
    title: 'From the origin',
    cell: ({ egressRatio }) => (egressRatio === null ? '–' : `${Math.round(100 * egressRatio)} %`),
    numeric: true,
  },
];

/** What agents account for by day, as `shoal report` shows it. */
function Saved(): ComponentChildren {
  const { value, problem } = useJson<Report>('/api/v1/report?days=7&images=5');
  if (problem !== undefined) return h(Problem, { text: problem });
  if (value === undefined) return null;
  const { total, days, images } = value;
  const most = Math.max(1, ...days.map(({ savedBytes }) => savedBytes));
  return h(
    Card,
    { title: 'Saved in seven days', note: 'as the agents account for it; shoal report has more' },
    total.egressRatio === null
      ? h(Empty, null, 'No agent has accounted for a pull yet.')
      : h(
          'div',
          { class: 'columns even' },
          h(
            'div',
            null,
            h('p', { class: 'headline' }, `${formatBytes(total.savedBytes)} less from the origin`),
            h(
              'p',
              { class: 'note' },
              `${Math.round(100 * total.egressRatio)} % of what agents fetched came from it.`,
            ),
            h(
              'dl',
              { class: 'amounts' },
              days.map(({ day, savedBytes }) =>
                h(
                  'div',
                  { key: day },
                  h('dt', null, day),
                  h('dd', null, formatBytes(savedBytes)),
                  h(AmountBar, { share: savedBytes / most, kind: 'peer' }),
                ),
              ),
            ),
          ),
          h(Table<ImageLine>, {
            ...{ caption: 'Images that saved most', columns: IMAGES, rows: images },
            keyOf: ({ repository, digest }) => `${repository} ${digest}`,
          }),
        ),
  );
}
