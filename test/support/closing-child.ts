/**
 * Run as a child process: closes pools while their only job ends earlier, later and in between, and
 * prints `closed` if it lives to see all of them closed. Argument: a file of some MB.
 */
import { createHashing } from '#hashing';

const [file = ''] = process.argv.slice(2);
for (let busyMs = 0; busyMs < 12; busyMs += 0.5) {
  const hashing = createHashing({ threads: 1 });
  await hashing.digestFile(file, 'sha256');
  hashing.digestFile(file, 'sha256').catch(() => undefined);
  const until = performance.now() + busyMs;
  while (performance.now() < until);
  await hashing.close();
}
process.stdout.write('closed');
