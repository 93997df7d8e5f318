/** Rounds of the fuzz until enough was sent, and what they left behind. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { createFuzz, type FuzzCounts } from './fuzz-rounds.ts';
import { sessions } from './fuzz-sessions.ts';

/** Rounds of one fast-check run; between runs it is looked whether enough was sent. */
const BATCH = 20;

export interface FuzzResult extends FuzzCounts {
  /** Memory that was in use after the first third, and at the end, with garbage collected: heap and buffers. */
  readonly memoryBefore: number;
  readonly memoryAfter: number;
  /** Sockets, timers and so on, the same way. */
  readonly handlesBefore: number;
  readonly handlesAfter: number;
  /** The longest time for which the event loop stood still. */
  readonly longestPauseMs: number;
}

/** What is made once, and what the engine may keep, is less than this. */
const MEMORY_BYTES = 16 * 1024 * 1024;

/** A timer or two come and go. */
const HANDLES = 2;

/** What was left behind that should not be; nothing when all is well. */
export function leftovers(result: FuzzResult): string[] {
  const bytes = result.memoryAfter - result.memoryBefore;
  const handles = result.handlesAfter - result.handlesBefore;
  return [
    ...(bytes < MEMORY_BYTES ? [] : [`${bytes} bytes of memory were not given back`]),
    ...(handles <= HANDLES ? [] : [`${handles} sockets, timers or files were left`]),
  ];
}

/** Throws with the smallest failing round. `runs` counts mutated messages and handshakes. */
export async function fuzzSwarm(options: {
  readonly runs: number;
  readonly seed: number;
  readonly progress?: (counts: FuzzCounts) => void;
}): Promise<FuzzResult> {
  const fuzz = await createFuzz();
  const session = sessions(fuzz.shape);
  const some = fc.array(session, { minLength: 1, maxLength: 8, size: 'max' });
  const pauses = monitorEventLoopDelay({ resolution: 10 });
  pauses.enable();
  let seed = options.seed;
  async function until(runs: number): Promise<{ readonly memory: number; readonly handles: number }> {
    while (fuzz.counts.mutated < runs) {
      await fc.assert(
        fc.asyncProperty(some, some, (towardsSeed, towardsDownload) =>
          fuzz.round(towardsSeed, towardsDownload),
        ),
        { numRuns: BATCH, seed: seed++ },
      );
      options.progress?.(fuzz.counts);
    }
    await fuzz.quiet();
    return { memory: await memoryInUse(), handles: process.getActiveResourcesInfo().length };
  }
  try {
    // What is made once and what is bounded (bans, spare buffers) is there after the first third.
    const before = await until(options.runs / 3);
    const after = await until(options.runs);
    return {
      ...fuzz.counts,
      memoryBefore: before.memory,
      memoryAfter: after.memory,
      handlesBefore: before.handles,
      handlesAfter: after.handles,
      longestPauseMs: Math.round(pauses.max / 1e6),
    };
  } finally {
    pauses.disable();
    await fuzz.close();
  }
}

async function memoryInUse(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  // What a finished promise holds is free one turn later.
  for (let turn = 0; turn < 3; turn++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
