/**
 * A command: its options (a table of #config), switches and operands, and what it does. Parsing and
 * help follow from these, so a command's file holds only its work.
 */
import { parseArgs } from 'node:util';
import {
  environmentName,
  fallbackText,
  flagName,
  nearest,
  type OptionTable,
  type Resolved,
  resolveOptions,
} from '#config';
import { UsageError } from './errors.ts';
import { EXIT_DONE } from './exit.ts';

export interface Invocation<T extends OptionTable> extends Resolved<T> {
  readonly operands: readonly string[];
  /** Whether `--name` was given. */
  readonly has: (name: string) => boolean;
  /** The value of `--config`, if the command takes it. */
  readonly configFile: string | undefined;
  /** The flags as they were given, for a command that resolves another program's table. */
  readonly flags: Readonly<Record<string, readonly string[]>>;
  /** Reads file and environment again, with the same flags (for SIGHUP). */
  readonly again: () => Resolved<T>;
}

export interface CommandDefinition<T extends OptionTable> {
  readonly name: string;
  readonly summary: string;
  /** What the operands are, as in the usage line; empty for none. */
  readonly operands: string;
  readonly operandCount: readonly [least: number, most: number];
  readonly options: T;
  /** Flags without a value: name and help. */
  readonly switches: Readonly<Record<string, string>>;
  /** Whether `--config FILE` (or SHOAL_CONFIG) is taken: for these options, or for another program's. */
  readonly configFile: 'none' | 'own' | 'other';
  /** Answers the exit code. */
  readonly run: (invocation: Invocation<T>) => Promise<number>;
}

export interface Command {
  readonly name: string;
  readonly summary: string;
  readonly options: OptionTable;
  /** Parses `args` (what follows the command's name) and runs. Throws UsageError or ConfigError for bad input. */
  readonly invoke: (args: readonly string[]) => Promise<number>;
  readonly help: () => string;
}

export function defineCommand<const T extends OptionTable>(definition: CommandDefinition<T>): Command {
  const help = (): string => commandHelp(definition);
  return {
    name: definition.name,
    summary: definition.summary,
    options: definition.options,
    help,
    async invoke(args) {
      const parsed = parse(definition, args);
      if (parsed.switches.has('help')) {
        process.stdout.write(help());
        return EXIT_DONE;
      }
      checkOperands(definition, parsed.operands);
      const configFile =
        definition.configFile === 'none'
          ? undefined
          : (parsed.flags['config']?.at(-1) ?? process.env['SHOAL_CONFIG']);
      const again = (): Resolved<T> =>
        resolveOptions(definition.options, {
          flags: parsed.flags,
          environment: process.env,
          file: definition.configFile === 'own' ? configFile || undefined : undefined,
        });
      return definition.run({
        ...again(),
        operands: parsed.operands,
        has: (name) => parsed.switches.has(name),
        configFile: configFile || undefined,
        flags: parsed.flags,
        again,
      });
    },
  };
}

interface Parsed {
  readonly flags: Record<string, readonly string[]>;
  readonly switches: ReadonlySet<string>;
  readonly operands: readonly string[];
}

function parse<T extends OptionTable>(definition: CommandDefinition<T>, args: readonly string[]): Parsed {
  const valued = Object.keys(definition.options).map(flagName);
  if (definition.configFile !== 'none') valued.push('config');
  const named = Object.keys(definition.switches);
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        ...Object.fromEntries(valued.map((flag) => [flag, { type: 'string', multiple: true } as const])),
        ...Object.fromEntries(named.map((flag) => [flag, { type: 'boolean' } as const])),
        help: { type: 'boolean', short: 'h' },
      },
      allowPositionals: true,
    });
    const flags: Record<string, readonly string[]> = {};
    const switches = new Set<string>();
    for (const [flag, value] of Object.entries(values)) {
      if (Array.isArray(value)) flags[flag] = value.map(String);
      else if (value === true) switches.add(flag);
    }
    return { flags, switches, operands: positionals };
  } catch (error) {
    throw new UsageError(parseFailure(error as Error & { code?: string }, [...valued, ...named, 'help']));
  }
}

/** parseArgs explains positional arguments at length; the user wants the flag and the likely one. */
function parseFailure(error: Error & { code?: string }, flags: readonly string[]): string {
  const unknown = /^Unknown option '--?([^']*)'/.exec(error.message)?.[1];
  if (error.code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION' || unknown === undefined) {
    return (error.message.split(/\n|\. /, 1)[0] ?? error.message).replace(/^Option /, '');
  }
  const near = nearest(unknown, flags) ?? flags.find((flag) => flag.startsWith(`${unknown}-`));
  return `unknown flag '${unknown.length > 1 ? '--' : '-'}${unknown}'${near === undefined ? '' : `; did you mean --${near}?`}`;
}

function checkOperands<T extends OptionTable>(
  definition: CommandDefinition<T>,
  operands: readonly string[],
): void {
  const [least, most] = definition.operandCount;
  if (operands.length < least) throw new UsageError(`${definition.operands} is missing`);
  if (operands.length > most) throw new UsageError(`'${operands[most]}' is one argument too many`);
}

const WIDTH = 100;
const INDENT = 6;

function commandHelp<T extends OptionTable>(definition: CommandDefinition<T>): string {
  const { name, operands, summary } = definition;
  const takesConfig = definition.configFile !== 'none';
  const usage = ['shoal', name, operands, takesConfig ? '[--config FILE]' : '', '[flags]'];
  const lines = [
    `Usage: ${usage.filter((part) => part !== '').join(' ')}`,
    '',
    ...wrap(`${summary}.`, 0),
    '',
  ];
  lines.push('Flags:');
  const flag = (heading: string, text: string): void => {
    lines.push(`  ${heading}`, ...wrap(text, INDENT));
  };
  if (takesConfig) {
    const content = definition.configFile === 'own' ? 'with the keys below' : 'of that program';
    flag('--config FILE', `YAML file ${content} (SHOAL_CONFIG)`);
  }
  for (const [key, option] of Object.entries(definition.options)) {
    const fallback = fallbackText(option);
    const notes = [option.list ? 'repeatable' : '', fallback === undefined ? '' : `default: ${fallback}`];
    const note = notes.filter((text) => text !== '').join('; ');
    flag(`--${flagName(key)} ${option.kind.placeholder}`, `${option.help}${note === '' ? '' : ` (${note})`}`);
  }
  for (const [switchName, text] of Object.entries(definition.switches)) flag(`--${switchName}`, text);
  flag('--help', 'this text');
  const example =
    Object.keys(definition.options).find((key) => key.includes('.')) ?? Object.keys(definition.options)[0];
  if (example !== undefined) {
    const file = takesConfig ? `, ${example} in the configuration file` : '';
    lines.push(
      '',
      `Every flag with a value is also an environment variable: --${flagName(example)} is ${environmentName(example)}${file}.`,
    );
    if (takesConfig)
      lines.push('Flags beat the environment, which beats the file, which beats the defaults.');
  }
  return `${lines.join('\n')}\n`;
}

function wrap(text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines.map((each) => ' '.repeat(indent) + each);
}
