/** Swarms: which blobs are shared now, and who has what of one of them. */
import { type ComponentChildren, Fragment, h } from 'preact';
import { useState } from 'preact/hooks';
import {
  countOf,
  formatBytes,
  formatCount,
  formatRate,
  formatSeconds,
  formatShare,
  shortDigest,
} from './format.ts';
import { useJson } from './json.ts';
import { chunksOf, useLive, valuesOf } from './live.ts';
import {
  AmountBar,
  Card,
  type Column,
  Empty,
  LiveMark,
  Pager,
  Problem,
  StateMark,
  Table,
  Tile,
  Title,
} from './parts.ts';
import { href } from './router.ts';

interface Summary {
  readonly infoHash: string;
  readonly digest: string | null;
  /** Bytes. */
  readonly size: number | null;
  readonly copies: number;
  readonly downloading: number;
}

interface Member {
  readonly peerId: string;
  readonly address: string | null;
  readonly peer: string | null;
  readonly zone: string | null;
  readonly progress: number;
  readonly left: number;
  readonly bytesPerSecond: number | null;
  readonly slow: boolean;
  readonly lastSeenSeconds: number;
}

const SWARMS: readonly Column<Summary>[] = [
  {
    title: 'Blob',
    cell: ({ digest, infoHash }) =>
      h(
        'a',
        { class: 'digest', href: href('swarms', digest ?? infoHash) },
        digest === null ? infoHash : shortDigest(digest),
      ),
  },
  { title: 'Size', cell: ({ size }) => (size === null ? '–' : formatBytes(size)), numeric: true },
  { title: 'Complete copies', cell: ({ copies }) => formatCount(copies), numeric: true },
  { title: 'Downloading', cell: ({ downloading }) => formatCount(downloading), numeric: true },
];

export function SwarmsPage(): ComponentChildren {
  const [pages, setPages] = useState<readonly string[]>(['']);
  const [turn, setTurn] = useState(0);
  const last = pages.at(-1) ?? '';
  const { value, problem } = useJson<{ swarms: readonly Summary[]; next: string | null }>(
    `/api/v1/swarms?n=50${last && `&last=${last}`}`,
    turn,
  );
  const next = value?.next ?? null;
  return h(
    Fragment,
    null,
    h(
      Title,
      { text: 'Swarms' },
      h(
        'div',
        { class: 'commands' },
        h('button', { type: 'button', onClick: () => setTurn(turn + 1) }, 'Look again'),
      ),
    ),
    h('p', { class: 'lead' }, 'Blobs that somebody announced lately: who downloads, or has just done so.'),
    problem !== undefined && h(Problem, { text: problem }),
    value !== undefined &&
      h(
        Card,
        { title: 'Shared now' },
        value.swarms.length === 0
          ? h(
              Empty,
              null,
              'No blob is downloaded now. Each layer of an image links to its swarm, also when it is idle.',
            )
          : h(Table<Summary>, {
              caption: 'Swarms',
              columns: SWARMS,
              rows: value.swarms,
              keyOf: ({ infoHash }) => infoHash,
            }),
        (next !== null || pages.length > 1) &&
          h(Pager, {
            ...{ label: 'Pages of swarms', text: `Page ${pages.length}` },
            onBack: pages.length === 1 ? undefined : () => setPages(pages.slice(0, -1)),
            onNext: next === null ? undefined : () => setPages([...pages, next]),
          }),
      ),
  );
}

const MEMBERS: readonly Column<Member>[] = [
  { title: 'Zone', cell: ({ zone }) => zone ?? '–' },
  {
    title: 'Has',
    cell: ({ progress }) =>
      h(
        'span',
        { class: 'has' },
        h(AmountBar, { share: progress, kind: progress === 1 ? 'done' : 'fetching' }),
        formatShare(progress),
      ),
  },
  { title: 'Left', cell: ({ left }) => (left === 0 ? '–' : formatBytes(left)), numeric: true },
  {
    title: 'Rate',
    cell: ({ bytesPerSecond }) => (bytesPerSecond === null ? '–' : formatRate(bytesPerSecond)),
    numeric: true,
  },
  {
    title: 'State',
    cell: ({ slow, left }) => h(StateMark, { state: left === 0 ? 'done' : slow ? 'slow' : 'downloading' }),
  },
  { title: 'Told', cell: ({ lastSeenSeconds }) => `${formatSeconds(lastSeenSeconds)} ago`, numeric: true },
  {
    title: 'Address',
    cell: ({ peer, address }) => h('span', { class: 'digest' }, peer ?? address ?? 'dials only'),
  },
];
const PAGE = 100;

export function SwarmPage({ blob }: { readonly blob: string }): ComponentChildren {
  const live = useLive(`/api/v1/live/swarms/${encodeURIComponent(blob)}`);
  const { feed } = live;
  const known =
    feed?.['infoHash'] === undefined
      ? undefined
      : (feed as unknown as Summary & { medianBytesPerSecond: number | null });
  return h(
    Fragment,
    null,
    h(
      Title,
      { text: `Swarm of ${shortDigest(blob)}` },
      h(
        'p',
        { class: 'crumb' },
        h('a', { href: href('swarms') }, 'Swarms'),
        ' / ',
        h('span', { class: 'digest' }, blob),
      ),
    ),
    h(LiveMark, { live }),
    known !== undefined &&
      feed !== undefined &&
      h(
        Fragment,
        null,
        h(
          'dl',
          { class: 'tiles big' },
          h(Tile, { label: 'Size', value: known.size === null ? '–' : formatBytes(known.size) }),
          h(Tile, {
            label: 'Complete copies',
            value: formatCount(known.copies),
            note: "the origin's own not counted",
          }),
          h(Tile, { label: 'Downloading', value: formatCount(known.downloading) }),
          h(Tile, {
            label: 'Median rate',
            value: known.medianBytesPerSecond === null ? '–' : formatRate(known.medianBytesPerSecond),
          }),
        ),
        h(Zones, { zones: valuesOf<Zone>(feed, 'zone.') }),
        h(Members, {
          blob,
          first: chunksOf<readonly Member[]>(feed, 'members.').flat(),
          total: known.copies + known.downloading,
        }),
      ),
  );
}

interface Zone {
  readonly zone: string | null;
  readonly copies: number;
  readonly downloading: number;
}

function Zones({ zones }: { readonly zones: readonly Zone[] }): ComponentChildren {
  return h(
    Card,
    { title: 'Zones', note: countOf(zones.length, 'zone') },
    zones.length === 0 && h(Empty, null, 'No agent has a part of it.'),
    h(
      'ul',
      { class: 'rows' },
      zones.map(({ zone, copies, downloading }) => {
        const words = `${countOf(copies, 'complete copy').replace('copys', 'copies')}, ${formatCount(downloading)} downloading`;
        const all = copies + downloading;
        return h(
          'li',
          { key: zone },
          h('span', { class: 'name' }, zone ?? 'no zone'),
          h(
            'div',
            { class: 'bar', role: 'img', 'aria-label': `${zone ?? 'no zone'}: ${words}` },
            h('span', { class: 'done', style: { width: `${(100 * copies) / all}%` } }),
            h('span', { class: 'fetching', style: { width: `${(100 * downloading) / all}%` } }),
          ),
          h('span', { class: 'note' }, words),
        );
      }),
    ),
  );
}

/** The first page is the feed's, and live; further ones are asked for. */
function Members(props: {
  readonly blob: string;
  readonly first: readonly Member[];
  readonly total: number;
}): ComponentChildren {
  const [offset, setOffset] = useState(0);
  const { blob, first, total } = props;
  const further = useJson<{ members: readonly Member[] }>(
    `/api/v1/swarms/${encodeURIComponent(blob)}?n=${PAGE}&offset=${offset}`,
    total,
  );
  const rows = offset === 0 ? first : (further.value?.members ?? []);
  return h(
    Card,
    { title: 'Members', note: 'those who download first; as told to the tracker, up to half a minute ago' },
    rows.length === 0
      ? h(Empty, null, 'Nobody has announced it. The origin seeds it to whoever asks.')
      : h(Table<Member>, {
          caption: 'Members of the swarm',
          columns: MEMBERS,
          rows,
          keyOf: ({ peerId }) => peerId,
        }),
    total > PAGE &&
      h(Pager, {
        ...{
          label: 'Pages of members',
          text: `${formatCount(offset + 1)} to ${formatCount(offset + rows.length)} of ${formatCount(total)}`,
        },
        onBack: offset === 0 ? undefined : () => setOffset(offset - PAGE),
        onNext: offset + PAGE >= total ? undefined : () => setOffset(offset + PAGE),
      }),
  );
}
