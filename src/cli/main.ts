/**
 * The command line: chooses the command, turns errors into one line and an exit code. The composition
 * root: only here do the programs (#origin, #tracker, #daemon) meet, each loaded when its command runs.
 */
import { readFileSync } from 'node:fs';
import { nearest } from '#config';
import { commands, overview } from './commands.ts';
import { EXIT_DONE, EXIT_FAILED, EXIT_USAGE, exitCode, explain, UsageError } from './errors.ts';
import { variableWarnings } from './variables.ts';

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h' || (name === 'help' && rest.length === 0)) {
    (name === undefined ? process.stderr : process.stdout).write(overview());
    return name === undefined ? EXIT_USAGE : EXIT_DONE;
  }
  if (name === '--version' || name === '-V') {
    process.stdout.write(`shoal ${version()}\n`);
    return EXIT_DONE;
  }
  const wanted = name === 'help' ? (rest[0] ?? '') : name;
  const entry = commands.find((command) => command.name === wanted);
  if (!entry) {
    const near = nearest(
      wanted,
      commands.map((command) => command.name),
    );
    fail('shoal', `there is no command '${wanted}'${near === undefined ? '' : `; did you mean '${near}'?`}`);
    process.stderr.write("Try 'shoal --help'.\n");
    return EXIT_USAGE;
  }
  try {
    const command = await entry.load();
    for (const warning of await variableWarnings()) fail(`shoal ${entry.name}: warning`, warning);
    return await command.invoke(name === 'help' ? ['--help'] : rest);
  } catch (error) {
    for (const line of explain(error)) fail(`shoal ${entry.name}`, line);
    if (error instanceof UsageError) process.stderr.write(`Try 'shoal ${entry.name} --help'.\n`);
    if (process.env['SHOAL_LOG_LEVEL'] === 'debug' && error instanceof Error) {
      process.stderr.write(`${error.stack}\n`);
    }
    return exitCode(error);
  }
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  const content: { version?: string } = JSON.parse(readFileSync(file, 'utf8'));
  return content.version ?? 'unknown';
}

function fail(who: string, line: string): void {
  process.stderr.write(`${who}: ${line}\n`);
}

/** A reader that goes away (`shoal … | head`) ends the output, not with a stack. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? EXIT_DONE : EXIT_FAILED);
});

// Writes to a pipe, a file or a terminal are synchronous on Linux, so nothing is lost by exiting here.
process.exit(await main(process.argv.slice(2)));
