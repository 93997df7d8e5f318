/**
 * What changed and is not on the disk yet. Writes are joined: while one is under way all that is noted waits for the
 * next, so that thousands of reports cost a few writes a second.
 *
 * What must be on the disk before anybody is told of it is pressing: a wave that begins, a command, the end of a node's
 * work. Progress is not; it is written with whatever comes next, or by the tick.
 */
import type { Rollout } from './machine.ts';
import type { Nodes } from './nodes.ts';
import type { RolloutStore } from './store.ts';

/** A rollout's phase and wave as they are on the disk. Orders follow these: a wave that a node heard of has begun for good. */
export type Standing = Pick<Rollout, 'phase' | 'wave'>;

export interface Journal {
  /** A new rollout is on the disk when it resolves. */
  begin(rollout: Rollout): Promise<void>;
  note(rollout: Rollout, nodes: Iterable<string>, pressing: boolean): void;
  /** Resolves when what was noted as pressing is on the disk. Rejects when it cannot be written; it stays noted. */
  settled(): Promise<void>;
  /** The same for all that was noted. */
  flush(): Promise<void>;
  standing(rollout: Rollout): Standing;
  forget(rollout: Rollout): Promise<void>;
}

export function openJournal(options: {
  readonly store: RolloutStore;
  readonly kept: readonly Rollout[];
  readonly nodes: Pick<Nodes, 'takeUnsaved'>;
  /** The standing of a rollout is another now. */
  readonly onStanding: (rollout: Rollout) => void;
}): Journal {
  const { store, nodes } = options;
  const standings = new Map(options.kept.map(({ id, phase, wave }) => [id, { phase, wave }]));
  const noted = new Map<Rollout, Set<string>>();
  let presses = false;
  let writing: { readonly presses: boolean; readonly done: Promise<void> } | undefined;
  let next: Promise<void> | undefined;

  const note = (rollout: Rollout, changed: Iterable<string>, pressing: boolean): void => {
    const ids = noted.get(rollout) ?? new Set();
    for (const id of changed) ids.add(id);
    noted.set(rollout, ids);
    presses ||= pressing;
  };
  const write = async (pressing: boolean): Promise<void> => {
    const batch = [...noted];
    noted.clear();
    presses = false;
    try {
      for (const [rollout, changed] of batch) {
        const { id, phase, wave } = rollout;
        await store.save(rollout, changed, pressing);
        const before = standings.get(id);
        // It was forgotten meanwhile, or nothing of it moved.
        if (before === undefined || (before.phase === phase && before.wave === wave)) continue;
        standings.set(id, { phase, wave });
        options.onStanding(rollout);
      }
      // After the rollouts: a node that is not known yet joins them again.
      const known = nodes.takeUnsaved();
      if (known.length > 0) await store.saveNodes(known);
    } catch (error) {
      for (const [rollout, changed] of batch) if (standings.has(rollout.id)) note(rollout, changed, pressing);
      throw error;
    }
  };
  const run = (): Promise<void> => {
    if (writing === undefined) {
      const done = write(presses).finally(() => {
        writing = undefined;
      });
      writing = { presses, done };
      return done;
    }
    next ??= writing.done
      .catch(() => undefined)
      .then(() => {
        next = undefined;
        return run();
      });
    return next;
  };

  return {
    async begin(rollout) {
      await store.save(rollout, rollout.nodes.keys(), true);
      standings.set(rollout.id, { phase: rollout.phase, wave: rollout.wave });
    },
    note,
    async settled() {
      if (presses) await run();
      else if (writing?.presses) await writing.done;
    },
    async flush() {
      if (writing === undefined || noted.size > 0) await run();
      else await writing.done;
    },
    standing: (rollout) => standings.get(rollout.id) ?? rollout,
    forget(rollout) {
      standings.delete(rollout.id);
      noted.delete(rollout);
      return store.forget(rollout);
    },
  };
}
