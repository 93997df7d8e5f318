/** The flags of a bench. What `--help` prints is the comment at the top of the bench's own file. */
import { readFileSync } from 'node:fs';
import { type ParseArgsConfig, parseArgs } from 'node:util';

type Flags = NonNullable<ParseArgsConfig['options']>;
type Values<F extends Flags> = ReturnType<typeof parseArgs<{ readonly options: F }>>['values'];

/** Parses the command line. `--help` ends the process with 0, a flag that does not exist with 2. */
export function readOptions<const F extends Flags>(file: string, options: F): Values<F> {
  if (process.argv.slice(2).some((argument) => argument === '--help' || argument === '-h')) {
    console.log(helpOf(file));
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}; see --help`);
    process.exit(2);
  }
}

/** The first doc comment of a file, without its stars. */
function helpOf(file: string): string {
  const comment = /\/\*\*\n([\s\S]*?)\n \*\//.exec(readFileSync(file, 'utf8'))?.[1] ?? '';
  return comment.replaceAll(/^ \* ?/gm, '');
}

/** A flag that is a number of at least `least`; anything else ends the process with 2. */
export function numberOf(name: string, text: string, least = 0): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= least) return value;
  console.error(`--${name} ${text}: a number of at least ${least} is needed; see --help`);
  process.exit(2);
}
