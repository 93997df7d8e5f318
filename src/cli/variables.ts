/** The SHOAL_ variables that mean something to some command, for the warning about those that do not. */
import { environmentName, unknownVariables } from '#config';
import { commands } from './commands.ts';

/** A line for each variable that would be ignored in silence. */
export async function variableWarnings(): Promise<string[]> {
  if (!Object.keys(process.env).some((name) => name.startsWith('SHOAL_'))) return [];
  const loaded = await Promise.all(commands.map((command) => command.load()));
  const keys = loaded.flatMap((command) => Object.keys(command.options));
  const known = new Set(['SHOAL_CONFIG', 'SHOAL_LOG_LEVEL', ...keys.map(environmentName)]);
  return unknownVariables(process.env, known);
}
