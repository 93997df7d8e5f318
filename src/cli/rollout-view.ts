/** A rollout as `/api/v1/rollouts` tells it, in words, and its progress: a table that redraws itself on a terminal, lines elsewhere. */
import { setTimeout as delay } from 'node:timers/promises';
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

type Output = Pick<NodeJS.WriteStream, 'write' | 'isTTY' | 'columns'>;

const POLL_MS = 1_000;
const BAR_WIDTH = 24;
const MAX_ZONES = 12;
const ENDED: ReadonlySet<string> = new Set(['done', 'failed', 'cancelled']);

export function hasEnded({ state }: Pick<RolloutView, 'state'>): boolean {
  return ENDED.has(state);
}

/** Whether every node has the image. */
export function isWhole({ state, nodes }: RolloutView): boolean {
  return state === 'done' && nodes.done === nodes.nodes;
}

/** Follows a rollout until it ends, or stops and waits for somebody's word. Answers with its last view. */
export async function follow(
  read: () => Promise<RolloutView>,
  out: Output,
  format: 'json' | 'text',
): Promise<RolloutView> {
  let drawn = 0;
  let line = '';
  for (;;) {
    const view = await read();
    if (format === 'json') out.write(`${JSON.stringify(view)}\n`);
    else if (out.isTTY) {
      const width = Math.max(40, (out.columns || 80) - 1);
      const rows = describe(view).map((row) => row.slice(0, width));
      out.write(`${drawn === 0 ? '' : `\x1b[${drawn}A\x1b[J`}${rows.join('\n')}\n`);
      drawn = rows.length;
    } else if (line !== summary(view)) {
      line = summary(view);
      out.write(`${line}\n`);
    }
    if (hasEnded(view) || view.state === 'stopped') return view;
    await delay(POLL_MS);
  }
}

/** All of it, for `status`. */
export function describe(view: RolloutView): string[] {
  const { nodes, bytes, slowest } = view;
  const received =
    (bytes['peer'] ?? 0) +
    (bytes['originSwarm'] ?? 0) +
    (bytes['originHttp'] ?? 0) +
    (bytes['upstream'] ?? 0);
  const saved = received === 0 ? '' : ` (${Math.round((100 * view.savedBytes) / received)} %)`;
  const eta = view.etaSeconds === null ? '' : `, about ${view.etaSeconds} s left`;
  const zones = view.zones.slice(0, MAX_ZONES);
  return [
    `${view.kind} ${view.id}  ${view.image}  ${stateOf(view)}`,
    `nodes    ${bar(nodes)}  ${counts(nodes)}`,
    ...(view.waves.length > 1
      ? view.waves.map((wave) => `${`wave ${wave.wave}`.padEnd(7)}  ${bar(wave)}  ${counts(wave)}`)
      : []),
    ...(zones.length > 1 || zones[0]?.zone !== '-'
      ? zones.map((zone) => `zone     ${bar(zone)}  ${counts(zone)}  ${zone.zone}`)
      : []),
    ...(view.zones.length > zones.length
      ? [`         and ${view.zones.length - zones.length} zones more`]
      : []),
    `bytes    ${formatBytes(received)} received at ${formatBytes(view.bytesPerSecondNow)}/s${eta}; ${formatBytes(view.savedBytes)}${saved} came from other agents and not from the origin`,
    ...slowest.map((node) =>
      `${node.state.padEnd(8)} ${node.name}${node.zone === null ? '' : ` (${node.zone})`}  ${percent(node)}  ${node.reason ?? ''}`.trimEnd(),
    ),
  ];
}

/** One line: for logs. */
function summary(view: RolloutView): string {
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

function percent({ haveBytes, totalBytes }: Pick<Part, 'haveBytes' | 'totalBytes'>): string {
  return totalBytes === 0 ? '0 %' : `${Math.floor((100 * haveBytes) / totalBytes)} %`;
}

/** `=` the nodes that have it, `-` those on their way. */
function bar({ nodes, done, fetching }: Part): string {
  const whole = Math.floor((done / Math.max(1, nodes)) * BAR_WIDTH);
  const open = Math.ceil((fetching / Math.max(1, nodes)) * BAR_WIDTH);
  return `[${('='.repeat(whole) + '-'.repeat(open)).slice(0, BAR_WIDTH).padEnd(BAR_WIDTH, '.')}]`;
}
