/** What the feeds tell: overview, nodes, one rollout, one swarm. Each is read from its owner; nothing is counted here. */
import type { InfoHash } from '#torrent';
import type { Tracker } from '#tracker';
import { isFinal, type NodeView, type Rollouts, summaryOf } from '../rollouts/index.ts';
import { CHUNK, encodeCell, type Roster } from './client/messages.ts';
import type { ReadState } from './feed.ts';

interface Blob {
  readonly infoHash: InfoHash;
  readonly digest?: string;
  /** Bytes. */
  readonly size?: number;
}

type Key = readonly [string, unknown];

/** Ended rollouts that the overview shows. */
const RECENT = 8;
const MEMBERS = 100;
/** Points of a chart in one key: those that are past do not change. */
const POINTS = 16;

export function readOverview(rollouts: Rollouts, status: () => object): ReadState {
  return function* read(): Generator<Key> {
    yield* Object.entries(status());
    let away = 0;
    for (const { id } of rollouts.nodes.list()) if (rollouts.nodes.isAway(id)) away += 1;
    yield ['nodes', { here: rollouts.nodes.size - away, away }];
    const all = rollouts.list();
    const active = all.filter((rollout) => !isFinal(rollout));
    const ended = all.filter(isFinal).slice(0, RECENT);
    yield ['rollouts', { active: active.length, ended: all.length - active.length }];
    for (const rollout of [...active, ...ended]) {
      yield [`rollout.${rollout.id}`, summaryOf(rollout, rollouts.nodes)];
    }
  };
}

export function readRollout(rollouts: Rollouts, id: string): ReadState {
  return () => {
    const rollout = rollouts.get(id);
    if (rollout === undefined) return undefined;
    const { view, each } = rollouts.look(rollout);
    const { zones, ...rest } = view;
    const cells = nodeKeys(each, ({ state, haveBytes, totalBytes }) =>
      encodeCell(state, totalBytes === 0 ? 0 : haveBytes / totalBytes),
    );
    const history = chunks(rollouts.history(id), POINTS).map(
      (points, at): Key => [
        `history.${at}`,
        points.map(({ at: time, peer, origin }) => [time, peer, origin]),
      ],
    );
    return [
      ...Object.entries({ ...rest, slowest: rest.slowest.map(briefly) }),
      ...zones.map((part): Key => [`zone.${part.zone}`, part]),
      ...cells,
      ...history,
    ];
  };
}

/** Without what changes each second on its own: the seconds since it began. */
function briefly({ name, zone, state, reason, haveBytes, totalBytes }: NodeView) {
  return { name, zone, state, reason, haveBytes, totalBytes };
}

export function readNodes({ nodes }: Rollouts): ReadState {
  return () => {
    const all = Array.from(nodes.list(), ({ id, name, zone }) => ({
      ...{ name, zone: zone ?? null },
      state: nodes.isAway(id) ? ('away' as const) : ('here' as const),
    })).sort((a, b) => compare(a.zone ?? '', b.zone ?? '') || compare(a.name, b.name));
    const zones = new Map<string, { zone: string; here: number; away: number }>();
    for (const node of all) {
      const zone = node.zone ?? '-';
      const part = zones.get(zone) ?? { zone, here: 0, away: 0 };
      part[node.state] += 1;
      zones.set(zone, part);
    }
    const away = all.filter(({ state }) => state === 'away').length;
    return [
      ['nodes', { here: all.length - away, away }] satisfies Key,
      ...Array.from(zones.values(), (part): Key => [`zone.${part.zone}`, part]),
      ...nodeKeys(all, ({ state }) => encodeCell(state, 0)),
    ];
  };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function readSwarm({ swarms }: Tracker, blob: Blob): ReadState {
  return () => {
    const { members, zones, ...rest } = swarms.view(blob.infoHash, 0, MEMBERS);
    return [
      ...Object.entries({ ...rest, digest: blob.digest ?? null, size: blob.size ?? null }),
      ...zones.map((part): Key => [`zone.${part.zone ?? '-'}`, part]),
      ...chunks(members, 10).map((chunk, at): Key => [`members.${at}`, chunk]),
    ];
  };
}

/** `zoneNames`, `roster.<n>` and `cells.<n>`; see client/messages.ts. */
function nodeKeys<T extends { readonly name: string; readonly zone: string | null }>(
  all: readonly T[],
  cellOf: (node: T) => string,
): Key[] {
  const places = new Map<string, number>();
  const placeOf = (zone: string | null): number => {
    if (zone === null) return -1;
    const place = places.get(zone) ?? places.size;
    places.set(zone, place);
    return place;
  };
  const keys = chunks(all, CHUNK).flatMap((chunk, at): Key[] => {
    const names = chunk.map(({ name }) => name).join(' ');
    const zones = chunk.map(({ zone }) => placeOf(zone)).join(' ');
    return [
      [`roster.${at}`, { names, zones } satisfies Roster],
      [`cells.${at}`, chunk.map(cellOf).join('')],
    ];
  });
  return [['zoneNames', [...places.keys()]], ...keys];
}

function chunks<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, at) =>
    all.slice(at * size, (at + 1) * size),
  );
}
