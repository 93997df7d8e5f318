/** A rollout as `/api/v1/rollouts` tells it, in words. */
import { formatBytes, formatTable } from './text.ts';

interface Part {
  readonly nodes: number;
  readonly done: number;
  readonly failed: number;
  readonly away: number;
  readonly fetching: number;
  readonly waiting: number;
  readonly haveBytes: number;
  readonly totalBytes: number;
}

/** What is read here of `GET /api/v1/rollouts/<id>`. */
export interface RolloutView {
  readonly id: string;
  readonly kind: string;
  readonly image: string;
  readonly digest: string;
  readonly selector: string;
  readonly state: string;
  readonly reason: string | null;
  readonly trigger: string;
  readonly wave: number;
  readonly waveCount: number;
  readonly createdAt: string;
  readonly endedAt: string | null;
  readonly nodes: Part;
  readonly waves: readonly ({ readonly wave: number } & Part)[];
  readonly zones: readonly ({ readonly zone: string } & Part)[];
  readonly bytes: Readonly<Record<string, number>>;
  readonly savedBytes: number;
  /** Most that all nodes may receive together. */
  readonly bytesPerSecond: number | null;
  readonly bytesPerSecondNow: number;
  readonly etaSeconds: number | null;
  readonly slowest: readonly {
    readonly name: string;
    readonly zone: string | null;
    readonly state: string;
    readonly haveBytes: number;
    readonly totalBytes: number;
    readonly reason: string | null;
  }[];
}

interface Size {
  /** Characters in a line. */
  readonly width: number;
  /** Lines of all; zones are left out beyond it. */
  readonly height: number;
}

const MOST_BAR = 24;
const LEAST_BAR = 6;
const MOST_LABEL = 18;
const PERCENT = 7;
const ENDED: ReadonlySet<string> = new Set(['done', 'failed', 'cancelled']);
const RECEIVED = ['peer', 'originSwarm', 'originHttp', 'upstream'] as const;

export function hasEnded({ state }: Pick<RolloutView, 'state'>): boolean {
  return ENDED.has(state);
}

/** Whether every node has the image. */
export function isWhole({ state, nodes }: RolloutView): boolean {
  return state === 'done' && nodes.done === nodes.nodes;
}

/** All of it. Without a size as long and wide as it is. */
export function describe(view: RolloutView, size?: Size): string[] {
  const parts = [
    { label: 'nodes', part: view.nodes },
    ...(view.waves.length > 1 ? view.waves.map((part) => ({ label: `wave ${part.wave}`, part })) : []),
  ];
  const hasZones = view.zones.length > 1 || view.zones[0]?.zone !== '-';
  const zones = hasZones
    ? view.zones.map((part) => ({ label: part.zone === '-' ? 'no zone' : part.zone, part }))
    : [];
  const before = [`${view.kind} ${view.id}  ${view.image}  ${stateOf(view)}`];
  const after = [...ratesOf(view), ...view.slowest.map(slowOf)];
  const room = size === undefined ? zones.length : size.height - before.length - parts.length - after.length;
  const shown = room >= zones.length ? zones : zones.slice(0, Math.max(0, room - 1));
  const left = zones.length - shown.length;
  const rows = [
    ...before,
    ...barsOf([...parts, ...shown], size?.width ?? Number.POSITIVE_INFINITY),
    ...(left > 0 ? [`and ${left} more zones`] : []),
    ...after,
  ];
  if (size === undefined) return rows;
  return rows.slice(0, size.height).map((row) => cut(row, size.width));
}

/** One line: for logs. */
export function summary(view: RolloutView): string {
  return `${view.id}  ${stateOf(view)}  ${counts(view.nodes)}, ${percent(view.nodes)}`;
}

export function listTable(views: readonly RolloutView[]): string {
  const rows = views.map((view) => [
    ...[view.id, view.kind, view.image, view.state, `${view.wave}/${view.waveCount}`],
    ...[`${view.nodes.done}/${view.nodes.nodes}`, String(view.nodes.failed), String(view.nodes.away)],
    ...[view.createdAt.slice(0, 19).replace('T', ' '), view.reason ?? ''],
  ]);
  return formatTable(
    ['id', 'kind', 'image', 'state', 'wave', 'done', 'failed', 'away', 'began (UTC)', 'why'],
    rows,
    10,
  );
}

function ratesOf(view: RolloutView): string[] {
  const received = RECEIVED.reduce((sum, source) => sum + (view.bytes[source] ?? 0), 0);
  const most = view.bytesPerSecond === null ? '' : ` of at most ${formatBytes(view.bytesPerSecond)}/s`;
  const eta = view.etaSeconds === null ? '' : `, about ${timeOf(view.etaSeconds)} left`;
  const share = received === 0 ? '' : ` (${Math.round((100 * view.savedBytes) / received)} %)`;
  const rate = `rate    ${formatBytes(view.bytesPerSecondNow)}/s${most}${eta}`;
  return [
    ...(hasEnded(view) ? [] : [rate]),
    `saved   ${formatBytes(view.savedBytes)} of ${formatBytes(received)}${share} came from agents, not from the origin`,
  ];
}

function slowOf(node: RolloutView['slowest'][number]): string {
  const where = node.zone === null ? '' : ` (${node.zone})`;
  const how = node.state === 'fetching' ? percent(node) : node.state;
  return `slow    ${node.name}${where}  ${how}${node.reason === null ? '' : `: ${node.reason}`}`;
}

/** `=` for the nodes that have it, `-` for what the others have of it. */
function barsOf(parts: readonly { readonly label: string; readonly part: Part }[], width: number): string[] {
  const labels = parts.map(({ label }) =>
    label.length <= MOST_LABEL ? label : `…${label.slice(1 - MOST_LABEL)}`,
  );
  const words = parts.map(({ part }) => counts(part));
  const labelWidth = Math.max(6, ...labels.map(({ length }) => length));
  const longest = Math.max(...words.map(({ length }) => length));
  const free = width - labelWidth - 2 - 4 - PERCENT - longest;
  const barWidth = Math.min(MOST_BAR, free);
  return parts.map(({ part }, at) => {
    const bar = barWidth < LEAST_BAR ? '' : `[${barOf(part, barWidth)}]  `;
    return `${(labels[at] ?? '').padEnd(labelWidth)}  ${bar}${percent(part).padStart(5)}  ${words[at]}`;
  });
}

function barOf(part: Part, width: number): string {
  const whole = Math.floor((part.done / Math.max(1, part.nodes)) * width);
  const filled = Math.max(whole, Math.floor(shareOf(part) * width));
  return `${'='.repeat(whole)}${'-'.repeat(filled - whole)}`.padEnd(width, '.');
}

function stateOf({ state, wave, waveCount, reason }: RolloutView): string {
  const which = waveCount > 1 && !ENDED.has(state) ? `, wave ${wave} of ${waveCount}` : '';
  return `${state}${which}${reason === null ? '' : ` (${reason})`}`;
}

function counts({ nodes, done, failed, away, fetching }: Part): string {
  const others = [
    fetching > 0 ? `${fetching} fetching` : '',
    away > 0 ? `${away} away` : '',
    failed > 0 ? `${failed} failed` : '',
  ].filter((text) => text !== '');
  return [`${done} of ${nodes} done`, ...others].join(', ');
}

function shareOf({ haveBytes, totalBytes }: Pick<Part, 'haveBytes' | 'totalBytes'>): number {
  return totalBytes === 0 ? 0 : Math.min(1, haveBytes / totalBytes);
}

function percent(part: Pick<Part, 'haveBytes' | 'totalBytes'>): string {
  return `${Math.floor(100 * shareOf(part))} %`;
}

function timeOf(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${seconds % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function cut(row: string, width: number): string {
  return row.length <= width ? row : `${row.slice(0, Math.max(0, width - 1))}…`;
}
