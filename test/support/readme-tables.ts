/** The configuration tables of README.md, made from the option tables. `npm run docs` writes them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fallbackText, flagName, type OptionTable } from '#config';
import { agentOptions } from '#daemon/options';
import { originOptions } from '#origin/options';
import { trackerOptions } from '#tracker/options';

const tables: Readonly<Record<string, OptionTable>> = {
  origin: originOptions,
  agent: agentOptions,
  tracker: trackerOptions,
};

export const readme = new URL('../../README.md', import.meta.url);

/** The text with each table between its marks made anew. */
export function withTables(text: string): string {
  return text.replace(
    /(<!-- options: (\w+) -->\n).*?(<!-- end -->)/gs,
    (_all, begin: string, program: string, end: string) => `${begin}${tableOf(tables[program] ?? {})}${end}`,
  );
}

function tableOf(table: OptionTable): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|');
  const rows = Object.entries(table).map(([key, option]) => [
    `\`${key}\``,
    `\`--${flagName(key)} ${cell(option.kind.placeholder)}\``,
    `${cell(option.help)}${option.list ? '; repeatable' : ''}`,
    cell(fallbackText(option) ?? ''),
  ]);
  const heading = ['key', 'flag', 'meaning', 'default'];
  const widths = heading.map((name, column) =>
    Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]): string =>
    `| ${widths.map((width, column) => (row[column] ?? '').padEnd(width)).join(' | ')} |\n`;
  return [heading, widths.map((width) => '-'.repeat(width)), ...rows].map(line).join('');
}

if (import.meta.main) writeFileSync(readme, withTables(readFileSync(readme, 'utf8')));
