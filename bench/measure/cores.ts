/** How busy the machine's processors are, from /proc/stat: what a run on few of them may be bound by. */
import { readFile } from 'node:fs/promises';

/** Shares of all processors' time, 0 to 1. */
export interface CoreUse {
  readonly busy: number;
  /** Taken by the hypervisor for others, on a virtual machine. */
  readonly stolen: number;
}

async function ticks(): Promise<readonly number[]> {
  const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n');
  return line.trim().split(/\s+/).slice(1, 9).map(Number);
}

/** Looks from now on; the answer tells of the time until it is called. */
export async function watchCores(): Promise<() => Promise<CoreUse>> {
  const before = await ticks();
  return async () => {
    const spent = (await ticks()).map((value, index) => value - (before[index] ?? 0));
    const total = spent.reduce((sum, value) => sum + value, 0);
    const [, , , idle = 0, waiting = 0, , , stolen = 0] = spent;
    return { busy: 1 - (idle + waiting) / total, stolen: stolen / total };
  };
}
