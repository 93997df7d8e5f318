/** A budget whose operator's word survives a restart of the agent. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { writeDurably } from '#durable';
import type { Logger } from '#telemetry';
import { type Budget, type BudgetConfig, type BudgetState, createBudget } from './budget.ts';

const rate = z.union([z.literal('unlimited'), z.int().positive()]);
const time = z.int().positive();
const override = z.strictObject({ rate, until: time.exactOptional() }).exactOptional();
const stateSchema = z.strictObject({
  upload: override,
  download: override,
  rollout: z
    .strictObject({
      until: time,
      upload: z.int().positive().exactOptional(),
      download: z.int().positive().exactOptional(),
    })
    .exactOptional(),
});

export interface OpenBudget extends Budget {
  /** As `set`, and kept: resolves when it would outlive a crash. */
  keep(next: BudgetState): Promise<void>;
}

/** `data` is the agent's folder. A file that cannot be read is told and passed over: the configuration counts then. */
export async function openBudget(options: {
  readonly config: BudgetConfig;
  readonly data: string;
  readonly log: Logger;
}): Promise<OpenBudget> {
  const file = path.join(options.data, 'limits.json');
  const state = await read(file, options.log);
  const budget = createBudget({ ...options, ...(state && { state }) });
  // One after another: the last that was asked for is the one that is kept.
  let writing: Promise<unknown> = Promise.resolve();
  return {
    get limits() {
      return budget.limits;
    },
    get state() {
      return budget.state;
    },
    set: budget.set,
    rollout: budget.rollout,
    configure: budget.configure,
    follow: budget.follow,
    close: budget.close,
    async keep(next) {
      const written = writing.then(() => writeDurably(file, `${JSON.stringify(next)}\n`));
      writing = written.catch(() => undefined);
      budget.set(next);
      await written;
    },
  };
}

async function read(file: string, log: Logger): Promise<BudgetState | undefined> {
  try {
    return stateSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    log.warn({ file, err: error }, 'limits that were set before are not readable; the configuration counts');
    return undefined;
  }
}
