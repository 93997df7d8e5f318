import { fallbackText, type OptionTable, printSettings, resolveOptions } from '#config';
import { agentOptions } from '#daemon/options';
import { originOptions } from '#origin/options';
import { trackerOptions } from '#tracker/options';
import { defineCommand } from './command.ts';
import { UsageError } from './errors.ts';
import { EXIT_DONE } from './exit.ts';

const tables: Readonly<Record<string, OptionTable>> = {
  origin: originOptions,
  tracker: trackerOptions,
  agent: agentOptions,
};

export const config = defineCommand({
  name: 'config',
  summary:
    'Prints the configuration that a program would run with, and where each value comes from. ' +
    "'config print' shows all programs, 'config print agent' one; a file needs the program's name",
  operands: 'print [origin|tracker|agent]',
  operandCount: [1, 2],
  options: {},
  switches: { json: 'one JSON object a line: program, key, value, source, default' },
  configFile: 'other',
  run: async ({ operands, configFile, has }) => {
    const [verb, program] = operands;
    if (verb !== 'print') throw new UsageError(`'${verb}' is not known; use 'shoal config print'`);
    if (program !== undefined && !Object.hasOwn(tables, program)) {
      throw new UsageError(`'${program}' is no program; the programs are ${Object.keys(tables).join(', ')}`);
    }
    if (program === undefined && configFile !== undefined) {
      throw new UsageError('a configuration file belongs to one program; name it: shoal config print agent');
    }
    const texts: string[] = [];
    for (const [name, table] of Object.entries(tables)) {
      if (program !== undefined && program !== name) continue;
      const { settings } = resolveOptions(table, { environment: process.env, file: configFile });
      if (!has('json')) {
        texts.push(printSettings(`shoal ${name}`, table, settings));
        continue;
      }
      for (const [key, option] of Object.entries(table)) {
        const setting = settings.get(key);
        const value = option.list ? (setting?.texts ?? []) : (setting?.texts[0] ?? null);
        const fallback = fallbackText(option) ?? null;
        const line = { program: name, key, value, source: setting?.source ?? null, default: fallback };
        texts.push(`${JSON.stringify(line)}\n`);
      }
    }
    process.stdout.write(texts.join(has('json') ? '' : '---\n'));
    return EXIT_DONE;
  },
});
