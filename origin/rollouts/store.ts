/** Rollouts and known nodes on the disk. */
import { z } from 'zod';
import type { Database } from '#database';
import { reports } from '#orders';
import type { Rollout, RolloutNode } from './machine.ts';

/** A node as it was last told of. */
export interface KnownNode {
  readonly id: string;
  readonly name: string;
  readonly zone: string | undefined;
  /** Milliseconds since the epoch. */
  readonly seenAt: number;
  /** It was counted as away, and has not spoken since: an origin that starts again still counts it so. */
  readonly away: boolean;
}

export interface RolloutStore {
  load(): Promise<{ readonly rollouts: Rollout[]; readonly nodes: KnownNode[] }>;
  /** The header, and these nodes of it, as they are now; writes are made in the order of the calls. With `sync` they outlive the machine when it resolves. */
  save(rollout: Rollout, nodes: Iterable<string>, sync: boolean): Promise<void>;
  forget(rollout: Rollout): Promise<void>;
  saveNodes(nodes: readonly KnownNode[]): Promise<void>;
  forgetNode(id: string): Promise<void>;
  /** Waits for what is being written. */
  close(): Promise<void>;
}

const shape = reports.shape.reports.element.shape;
const nullable = z.number().nullable();
const storedNode = z.object({
  wave: z.number(),
  state: z.enum(['waiting', 'fetching', 'done', 'failed']),
  attempt: z.number(),
  reason: shape.reason,
  totalBytes: z.number(),
  bytes: shape.bytes,
  startedAt: nullable,
  endedAt: nullable,
});
const storedRollout = z.object({
  id: z.string(),
  kind: z.enum(['prefetch', 'rollout']),
  repository: z.string(),
  image: z.string(),
  digest: z.string(),
  platforms: z.array(z.string()),
  selector: z.string(),
  waves: z.number(),
  maxUnavailable: nullable,
  bytesPerSecond: nullable,
  createdAt: z.number(),
  trigger: z.string(),
  deadlineAt: z.number(),
  phase: z.enum(['running', 'paused', 'stopped', 'done', 'failed', 'cancelled']),
  wave: z.number(),
  reason: z.string().nullable(),
  heldAt: nullable,
  endedAt: nullable,
});
const storedKnown = z.object({
  id: z.string(),
  name: z.string(),
  zone: z.string().optional(),
  seenAt: z.number(),
  away: z.boolean().default(false),
});

export function openRolloutStore(db: Database): RolloutStore {
  const table = (name: string) => db.sublevel<string, unknown>(`rollout-${name}`, { valueEncoding: 'json' });
  const [headers, members, known] = [table('headers'), table('members'), table('nodes')];
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = (task: () => Promise<void>): Promise<void> => {
    const turn = last.then(task);
    last = turn.catch(() => undefined);
    return turn;
  };
  const put = (sublevel: typeof headers, key: string, value: unknown) =>
    ({ type: 'put', sublevel, key, value: value as never }) as const;

  return {
    async load() {
      const rollouts = new Map<string, Rollout>();
      for await (const value of headers.values()) {
        const header = storedRollout.parse(value);
        rollouts.set(header.id, { ...header, nodes: new Map() });
      }
      for await (const [key, value] of members.iterator()) {
        const [id = '', node = ''] = key.split('!');
        rollouts.get(id)?.nodes.set(node, storedNode.parse(value) satisfies RolloutNode);
      }
      const nodes: KnownNode[] = [];
      for await (const value of known.values()) {
        const { zone, ...node } = storedKnown.parse(value);
        nodes.push({ ...node, zone });
      }
      return { rollouts: [...rollouts.values()], nodes };
    },
    save(rollout, nodes, sync) {
      const { nodes: all, ...header } = rollout;
      // As they are now: they may be others when it is this write's turn.
      const batch = [put(headers, rollout.id, { ...header })];
      for (const id of nodes) batch.push(put(members, `${rollout.id}!${id}`, { ...all.get(id) }));
      return inTurn(() => db.batch(batch, { sync }));
    },
    forget: (rollout) =>
      inTurn(async () => {
        await headers.del(rollout.id);
        await members.clear({ gt: `${rollout.id}!`, lt: `${rollout.id}"` });
      }),
    saveNodes: (nodes) => inTurn(() => db.batch(nodes.map((node) => put(known, node.id, node)))),
    forgetNode: (id) => inTurn(() => known.del(id)),
    async close() {
      await last;
    },
  };
}
