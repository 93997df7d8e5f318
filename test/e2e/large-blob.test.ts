/** A blob much larger than the memory that is allowed goes in and out of both programs. */
import { readFile } from 'node:fs/promises';
import t from 'tap';
import { pullBlob, pushBlob } from '../support/registry-client.ts';
import { type Program, startProgram } from '../support/shoal.ts';

const SIZE = 2 * 1024 ** 3;
const LIMIT = 300e6;

/** The kernel's own record of the most memory a process ever had resident. */
async function peakResidentBytes(program: Program): Promise<number> {
  const status = await readFile(`/proc/${program.pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

t.test('a 2 GiB blob is pushed and pulled in under 300 MB of memory', async (t) => {
  const origin = await startProgram(t, 'origin');
  const agent = await startProgram(t, 'agent', ['--origin', origin.url]);
  const digest = await pushBlob(origin.url, 'large/blob', 7, SIZE);
  t.same(await pullBlob(agent.url, 'large/blob', digest), { status: 200, digest, size: SIZE });
  for (const [name, program] of [
    ['origin', origin],
    ['agent', agent],
  ] as const) {
    const peak = await peakResidentBytes(program);
    t.ok(peak > 0 && peak < LIMIT, `the ${name}'s peak was ${Math.round(peak / 1e6)} MB`);
  }
});
