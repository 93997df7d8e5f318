/**
 * Runs the tests: `npm test`, or `npm test -- test/unit/config` for a part of them. Quick files first, as
 * many at a time as there are cores; then those that drive real clients, one at a time, because
 * they measure memory and bytes. Ends with `N passed, N failed, N skipped`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createTapCounter } from './support/tap-count.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);

/** The folder below test/ decides the group. A file that takes longer than `seconds` has failed. */
const groups = [
  {
    folders: ['unit', 'integration', 'conformance', 'faults'],
    jobs: Math.min(os.availableParallelism(), 4),
    seconds: 180,
  },
  { folders: ['interop', 'e2e'], jobs: 1, seconds: 900 },
] as const;

const wanted = process.argv.slice(2).flatMap(filesBelow);
const files = wanted.length > 0 ? wanted : filesBelow('test');

const counter = createTapCounter({
  failure: (where, diagnostics) => {
    print(`\nFAILED ${where}`);
    for (const line of diagnostics) print(`  ${line}`);
    print('');
  },
  file: (name, ok, { passed, failed, skipped }) => {
    const parts = [`${passed} passed`, failed > 0 && `${failed} failed`, skipped > 0 && `${skipped} skipped`];
    print(`${ok ? 'ok    ' : 'FAILED'} ${name} (${parts.filter(Boolean).join(', ')})`);
  },
});

const inNoGroup = files.filter(
  (file) => !groups.some((group) => group.folders.some((folder) => file.startsWith(`test/${folder}/`))),
);
for (const file of inNoGroup) print(`FAILED ${file}: its folder is in no group of test/run.ts`);
let broken = inNoGroup.length > 0;
for (const group of groups) {
  const members = files.filter((file) => group.folders.some((folder) => file.startsWith(`test/${folder}/`)));
  if (members.length > 0) broken = (await runTap(members, group)) || broken;
}

const { passed, failed, skipped } = counter.counts();
if (broken && failed === 0) print('\nThe test runner failed; its message is above.');
if (passed + failed === 0) print('\nNo test ran.');
print(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = broken || failed > 0 || passed === 0 ? 1 : 0;

/** Answers whether tap says that something failed. */
async function runTap(members: readonly string[], group: (typeof groups)[number]): Promise<boolean> {
  const tap = path.join('node_modules', '.bin', 'tap');
  const args = [tap, 'run', '--reporter=tap', `--jobs=${group.jobs}`, `-t${group.seconds}`, ...members];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  for await (const line of createInterface({ input: child.stdout })) counter.line(line);
  const [code] = await exited;
  return code !== 0;
}

function filesBelow(place: string): string[] {
  const relative = path.relative(root, path.resolve(place));
  const isFolder = statSync(relative, { throwIfNoEntry: false })?.isDirectory() ?? false;
  return isFolder ? globSync(`${relative}/**/*.test.ts`).sort() : [relative];
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
