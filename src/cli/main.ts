/**
 * The entry of the command line. The composition root: only in this room do the programs (#origin,
 * #tracker, #daemon) meet, each loaded when its command runs, so that help is quick.
 */
import { readFileSync } from 'node:fs';
import { overview } from './commands.ts';
import { EXIT_DONE, EXIT_FAILED, EXIT_USAGE } from './exit.ts';

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined) {
    process.stderr.write(overview());
    return EXIT_USAGE;
  }
  if (name === '--help' || name === '-h' || (name === 'help' && rest.length === 0)) {
    process.stdout.write(overview());
    return EXIT_DONE;
  }
  if (name === '--version' || name === '-V') {
    process.stdout.write(`shoal ${version()}\n`);
    return EXIT_DONE;
  }
  const { dispatch } = await import('./dispatch.ts');
  return name === 'help' ? dispatch(rest[0] ?? '', [...rest.slice(1, 2), '--help']) : dispatch(name, rest);
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  const content: { version?: string } = JSON.parse(readFileSync(file, 'utf8'));
  return content.version ?? 'unknown';
}

/** A reader that goes away (`shoal … | head`) ends the output, not with a stack. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? EXIT_DONE : EXIT_FAILED);
});

// Writes to a pipe, a file or a terminal are synchronous on Linux, so nothing is lost by exiting here.
process.exit(await main(process.argv.slice(2)));
