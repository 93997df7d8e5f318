/** A rollout as it goes on: waves, every node, throughput, and what it saved. */
import { type ComponentChildren, Fragment, h } from 'preact';
import { useState } from 'preact/hooks';
import { Chart } from './chart.ts';
import {
  countOf,
  formatBytes,
  formatCount,
  formatRate,
  formatSeconds,
  formatTime,
  shortDigest,
} from './format.ts';
import { Grid } from './grid.ts';
import { useJson } from './json.ts';
import { chunksOf, describe, useLive, valuesOf } from './live.ts';
import { NodeTable, type RolloutNode } from './node-table.ts';
import {
  AmountBar,
  Card,
  doneText,
  Empty,
  LiveMark,
  NodesBar,
  type Part,
  Problem,
  STATES,
  StateMark,
  Tile,
  Title,
} from './parts.ts';
import { nodeListOf } from './roster.ts';
import { href } from './router.ts';
import type { Point } from './throughput.ts';

interface RolloutView {
  readonly id: string;
  readonly kind: string;
  readonly image: string;
  readonly repository: string;
  readonly digest: string;
  readonly selector: string;
  readonly trigger: string;
  readonly state: string;
  readonly reason: string | null;
  readonly wave: number;
  readonly waveCount: number;
  readonly maxUnavailable: number | null;
  readonly bytesPerSecond: number | null;
  readonly createdAt: string;
  readonly deadlineAt: string;
  readonly endedAt: string | null;
  readonly nodes: Part;
  readonly waves: readonly (Part & { readonly wave: number })[];
  readonly bytes: Readonly<
    Record<'peer' | 'originSwarm' | 'originHttp' | 'upstream' | 'resumed' | 'present', number>
  >;
  readonly bytesPerSecondNow: number;
  readonly etaSeconds: number | null;
}

export function RolloutPage({ id }: { readonly id: string }): ComponentChildren {
  const live = useLive(`/api/v1/live/rollouts/${encodeURIComponent(id)}`);
  const [chosen, setChosen] = useState<number | undefined>(undefined);
  const { feed } = live;
  if (feed === undefined || feed['id'] === undefined) {
    return h(Fragment, null, h(Title, { text: 'Rollout' }), h(LiveMark, { live }));
  }
  const view = feed as unknown as RolloutView;
  const list = nodeListOf(feed);
  const zones = valuesOf<Part & { readonly zone: string }>(feed, 'zone.');
  const points = chunksOf<readonly Point[]>(feed, 'history.').flat();
  const groups = view.waves.map(({ wave, nodes }) => ({ label: `Wave ${wave}`, size: nodes }));
  return h(
    Fragment,
    null,
    h(
      Title,
      { text: view.image },
      h(StateMark, { state: view.state }),
      h(Commands, { id, state: view.state }),
    ),
    h(LiveMark, { live }),
    view.reason !== null && h(Problem, { text: view.reason }),
    h(Summary, { view }),
    h(
      'div',
      { class: 'columns' },
      h(
        Card,
        {
          title: 'Throughput',
          note: view.bytesPerSecond === null ? 'no limit' : `at most ${formatRate(view.bytesPerSecond)}`,
        },
        h(Sources, null),
        h(Chart, { points }),
      ),
      h(Savings, { view }),
    ),
    h(Waves, { view }),
    h(
      Card,
      { title: 'Nodes', note: `${countOf(list.size, 'node')}; each square is one` },
      h(Legend, { part: view.nodes }),
      h(Grid, { label: 'Nodes by progress', list, groups, onChoose: setChosen }),
      chosen !== undefined && h(Details, { id, place: chosen, turn: list.cells[chosen] ?? '' }),
    ),
    zones.length > 1 && h(Zones, { zones }),
    h(NodeTable, {
      id,
      turn: `${view.nodes.done} ${view.nodes.failed} ${view.nodes.away} ${view.nodes.fetching}`,
    }),
  );
}

function Summary({ view }: { readonly view: RolloutView }): ComponentChildren {
  const { nodes } = view;
  const facts: [string, string][] = [
    ['Kind', `${view.kind}, by ${view.trigger}`],
    ['For nodes', view.selector],
    ['Began', formatTime(view.createdAt)],
    view.endedAt === null ? ['Deadline', formatTime(view.deadlineAt)] : ['Ended', formatTime(view.endedAt)],
    [
      'May be unavailable',
      view.maxUnavailable === null ? 'any number' : countOf(view.maxUnavailable, 'node'),
    ],
  ];
  return h(
    Card,
    { title: 'Progress' },
    h('p', { class: 'headline' }, doneText(nodes)),
    h(NodesBar, { part: nodes, label: 'Nodes' }),
    h(
      'dl',
      { class: 'tiles' },
      STATES.map((state) =>
        h(Tile, { key: state, label: state, value: formatCount(nodes[state]), mark: state }),
      ),
      h(Tile, { label: 'rate now', value: formatRate(view.bytesPerSecondNow) }),
      h(Tile, { label: 'time left', value: view.etaSeconds === null ? '–' : formatSeconds(view.etaSeconds) }),
    ),
    h(
      'dl',
      { class: 'facts' },
      facts.map(([name, value]) => h('div', { key: name }, h('dt', null, name), h('dd', null, value))),
      h(
        'div',
        null,
        h('dt', null, 'Image'),
        h(
          'dd',
          null,
          h('a', { href: href('images', view.repository, view.digest) }, shortDigest(view.digest)),
        ),
      ),
    ),
  );
}

function Sources(): ComponentChildren {
  return h(
    'p',
    { class: 'legend' },
    h('span', null, h('span', { class: 'swatch peer', 'aria-hidden': true }), 'from other agents'),
    h('span', null, h('span', { class: 'swatch origin', 'aria-hidden': true }), 'from the origin'),
  );
}

function Savings({ view: { bytes } }: { readonly view: RolloutView }): ComponentChildren {
  const origin = bytes.originSwarm + bytes.originHttp + bytes.upstream;
  const direct = origin + bytes.peer;
  const rows = [
    { label: 'The origin sent', value: origin, kind: 'origin' },
    { label: 'Direct pulls would have taken', value: direct, kind: 'direct' },
  ];
  return h(
    Card,
    { title: 'What the origin sent' },
    direct === 0
      ? h(Empty, null, 'Nothing was fetched yet.')
      : h(
          Fragment,
          null,
          h('p', { class: 'headline' }, `${formatBytes(bytes.peer)} less than direct pulls`),
          h(
            'dl',
            { class: 'amounts' },
            rows.map(({ label, value, kind }) =>
              h(
                'div',
                { key: label },
                h('dt', null, label),
                h('dd', null, formatBytes(value)),
                h(AmountBar, { share: value / direct, kind }),
              ),
            ),
          ),
          h(
            'p',
            { class: 'note' },
            `${Math.round((100 * bytes.peer) / direct)} % came from other agents. As the agents account for it: verified pieces, by source.`,
          ),
        ),
  );
}

function Waves({ view }: { readonly view: RolloutView }): ComponentChildren {
  const note = `wave ${view.wave} of ${view.waveCount} has begun`;
  return h(
    Card,
    { title: 'Waves', note },
    h(
      'ol',
      { class: 'rows' },
      view.waves.map((part) =>
        h(
          'li',
          { key: part.wave },
          h('span', { class: 'name' }, `Wave ${part.wave}`),
          h(NodesBar, { part, label: `Wave ${part.wave}` }),
          h(
            'span',
            { class: 'note' },
            part.wave > view.wave ? `${countOf(part.nodes, 'node')}, not begun` : doneText(part),
          ),
        ),
      ),
    ),
  );
}

const FEW = 8;

function Zones({
  zones,
}: {
  readonly zones: readonly (Part & { readonly zone: string })[];
}): ComponentChildren {
  const [all, setAll] = useState(false);
  const sorted = zones.toSorted((a, b) => a.done / a.nodes - b.done / b.nodes || (a.zone < b.zone ? -1 : 1));
  const shown = all ? sorted : sorted.slice(0, FEW);
  return h(
    Card,
    { title: 'Zones', note: `${countOf(zones.length, 'zone')}, the furthest behind first` },
    h(
      'ul',
      { class: 'rows' },
      shown.map((part) =>
        h(
          'li',
          { key: part.zone },
          h('span', { class: 'name' }, part.zone === '-' ? 'no zone' : part.zone),
          h(NodesBar, { part, label: part.zone }),
          h('span', { class: 'note' }, doneText(part)),
        ),
      ),
    ),
    zones.length > FEW &&
      h(
        'button',
        { type: 'button', 'aria-expanded': all, onClick: () => setAll(!all) },
        all ? 'Show fewer' : `Show all ${zones.length}`,
      ),
  );
}

function Legend({ part }: { readonly part: Part }): ComponentChildren {
  return h(
    'p',
    { class: 'legend' },
    STATES.map((state) =>
      h(
        'span',
        { key: state },
        h('span', { class: `swatch ${state}`, 'aria-hidden': true }),
        `${state} ${formatCount(part[state])}`,
      ),
    ),
  );
}

/** More of the node that was chosen in the grid; asked again when its square changes. */
function Details({
  id,
  place,
  turn,
}: {
  readonly id: string;
  readonly place: number;
  readonly turn: string;
}): ComponentChildren {
  const { value, problem } = useJson<{ nodes: readonly RolloutNode[] }>(
    `/api/v1/rollouts/${id}/nodes?n=1&offset=${place}`,
    turn,
  );
  const node = value?.nodes[0];
  if (node === undefined) return h('p', { class: 'told', role: 'status' }, problem ?? 'Asking…');
  const facts = [
    ['Node', node.name],
    ['Zone', node.zone ?? 'none'],
    ['Wave', String(node.wave)],
    ['State', node.state],
    ['Has', `${formatBytes(node.haveBytes)} of ${formatBytes(node.totalBytes)}`],
    ['From agents', formatBytes(node.bytes.peer)],
    ['From the origin', formatBytes(node.bytes.originSwarm + node.bytes.originHttp + node.bytes.upstream)],
    ['Was there before', formatBytes(node.bytes.present + node.bytes.resumed)],
    ['Time', node.seconds === null ? '–' : formatSeconds(node.seconds)],
    ['Peer id', node.id],
    ...(node.reason === null ? [] : [['Why', node.reason]]),
  ] as const;
  return h(
    'dl',
    { class: 'facts', 'aria-label': `Node ${node.name}` },
    facts.map(([name, text]) => h('div', { key: name }, h('dt', null, name), h('dd', null, text))),
  );
}

const COMMANDS: Readonly<Record<string, readonly ('pause' | 'resume' | 'cancel')[]>> = {
  running: ['pause', 'cancel'],
  paused: ['resume', 'cancel'],
  stopped: ['resume', 'cancel'],
};

/** Pause, resume, and cancel after a question. */
function Commands({ id, state }: { readonly id: string; readonly state: string }): ComponentChildren {
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState<string | undefined>(undefined);
  const send = async (command: string): Promise<void> => {
    setAsking(false);
    const answer = await fetch(`/api/v1/rollouts/${id}/${command}`, { method: 'POST' }).catch(
      () => undefined,
    );
    setProblem(
      answer === undefined ? 'the origin cannot be reached' : answer.ok ? undefined : await describe(answer),
    );
  };
  const commands = COMMANDS[state] ?? [];
  return h(
    'div',
    { class: 'commands' },
    problem !== undefined && h(Problem, { text: problem }),
    asking
      ? h(
          Fragment,
          null,
          h('span', { role: 'status' }, 'Cancel for good?'),
          h(
            'button',
            { type: 'button', class: 'danger', onClick: () => void send('cancel') },
            'Cancel the rollout',
          ),
          h('button', { type: 'button', onClick: () => setAsking(false) }, 'Keep it'),
        )
      : commands.map((command) =>
          h(
            'button',
            {
              key: command,
              type: 'button',
              onClick: () => (command === 'cancel' ? setAsking(true) : void send(command)),
            },
            `${command[0]?.toUpperCase()}${command.slice(1)}`,
          ),
        ),
  );
}
