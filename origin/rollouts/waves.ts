/**
 * Which node belongs to which wave. The first nodes of the order are spread over the zones, coarse parts
 * first, so that an early wave leaves a near copy in each; who is away comes last, for it gives nobody
 * a copy.
 */
export interface Planned {
  readonly id: string;
  readonly zone?: string | undefined;
  readonly away: boolean;
}

/** `10%` of the nodes, or a number of them; what is in a wave by its end, earlier waves included. */
export type WaveSize = { readonly percent: number } | { readonly count: number };

const MAX_WAVES = 20;

/** Reads `10%,50%,100%` or `1,10,100%`. @throws RangeError in words for its author */
export function parseWaves(text: string): WaveSize[] {
  const waves = text.split(',').map((part): WaveSize => {
    const [, digits, percent] = /^(\d{1,6})(%?)$/.exec(part.trim()) ?? [];
    const value = Number(digits);
    if (digits === undefined || value < 1 || (percent === '%' && value > 100)) {
      throw new RangeError(`'${part.trim()}' is no wave: use a share such as 10% or a number of nodes`);
    }
    return percent === '%' ? { percent: value } : { count: value };
  });
  if (waves.length > MAX_WAVES) throw new RangeError(`at most ${MAX_WAVES} waves`);
  const last = waves.at(-1);
  if (last === undefined || !('percent' in last) || last.percent !== 100) {
    throw new RangeError('the last wave must be 100%, so that every node is in one');
  }
  for (const kind of ['percent', 'count'] as const) {
    const sizes = waves.flatMap((wave) =>
      kind in wave ? [(wave as Record<string, number>)[kind] ?? 0] : [],
    );
    if (sizes.some((size, at) => at > 0 && size <= (sizes[at - 1] ?? 0))) {
      throw new RangeError('each wave counts the nodes of those before it: the sizes must rise');
    }
  }
  return waves;
}

export function formatWaves(waves: readonly WaveSize[]): string {
  return waves.map((wave) => ('percent' in wave ? `${wave.percent}%` : String(wave.count))).join(',');
}

/** The wave of each node, from 0. Waves that would have no node of their own are left out. */
export function planWaves(nodes: readonly Planned[], waves: readonly WaveSize[]): Map<string, number> {
  const present = nodes.filter(({ away }) => !away);
  const gone = nodes.filter(({ away }) => away);
  const order = [...spread(present), ...spread(gone)];
  const planned = new Map<string, number>();
  let from = 0;
  let number = 0;
  for (const wave of waves) {
    const wanted = 'percent' in wave ? Math.ceil((order.length * wave.percent) / 100) : wave.count;
    const to = Math.min(order.length, Math.max(from, wanted));
    if (to === from) continue;
    for (const { id } of order.slice(from, to)) planned.set(id, number);
    from = to;
    number += 1;
  }
  return planned;
}

/** Takes of each zone in turn, and within a zone of each part of it. */
function spread(nodes: readonly Planned[], depth = 0): Planned[] {
  const groups = new Map<string, Planned[]>();
  for (const node of nodes) {
    const part = node.zone?.split('/')[depth] ?? '';
    const group = groups.get(part);
    if (group) group.push(node);
    else groups.set(part, [node]);
  }
  const lists = [...groups.keys()].sort().map((part) => {
    const group = groups.get(part) ?? [];
    return part === '' ? group.toSorted((a, b) => (a.id < b.id ? -1 : 1)) : spread(group, depth + 1);
  });
  const order: Planned[] = [];
  for (let round = 0; order.length < nodes.length; round += 1) {
    for (const list of lists) {
      const node = list[round];
      if (node !== undefined) order.push(node);
    }
  }
  return order;
}
