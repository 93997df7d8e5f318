/** Chooses the command, and turns what it throws into lines for the user and an exit code. */
import { nearest } from '#config';
import { commands } from './commands.ts';
import { exitCode, explain, UsageError } from './errors.ts';
import { EXIT_USAGE } from './exit.ts';
import { variableWarnings } from './variables.ts';

export async function dispatch(first: string, given: readonly string[]): Promise<number> {
  // `shoal origin scrub` is a command of its own beside `shoal origin`.
  const isPair = commands.some((command) => command.name === `${first} ${given[0]}`);
  const name = isPair ? `${first} ${given[0]}` : first;
  const args = isPair ? given.slice(1) : given;
  const entry = commands.find((command) => command.name === name);
  if (!entry) {
    const near = nearest(
      name,
      commands.map((command) => command.name),
    );
    const longer = commands.map((command) => command.name).filter((known) => known.startsWith(`${name} `));
    const hint = near === undefined ? '' : `; did you mean '${near}'?`;
    complain(
      'shoal',
      `there is no command '${name}'${longer.length > 0 ? `; these begin so: ${longer.join(', ')}` : hint}`,
    );
    process.stderr.write("Try 'shoal --help'.\n");
    return EXIT_USAGE;
  }
  try {
    const command = await entry.load();
    for (const warning of await variableWarnings()) complain(`shoal ${name}: warning`, warning);
    return await command.invoke(args);
  } catch (error) {
    for (const line of explain(error)) complain(`shoal ${name}`, line);
    if (error instanceof UsageError) process.stderr.write(`Try 'shoal ${name} --help'.\n`);
    if (process.env['SHOAL_LOG_LEVEL'] === 'debug' && error instanceof Error) {
      process.stderr.write(`${error.stack}\n`);
    }
    return exitCode(error);
  }
}

function complain(who: string, line: string): void {
  process.stderr.write(`${who}: ${line}\n`);
}
