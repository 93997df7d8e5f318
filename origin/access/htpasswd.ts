/** The user file, as `htpasswd -B` writes it: a line `NAME:HASH` each, bcrypt only. */
import { readFile } from 'node:fs/promises';
import { ConfigError } from '#config';

/** Hashes by user name. */
export type Users = ReadonlyMap<string, string>;

const MAX_BYTES = 16 * 1024 * 1024;
const HASH = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;
/** Sixteen is some four seconds of work for each log-in. */
const MAX_COST = 16;

/** @throws ConfigError naming the file, and the line */
export async function readHtpasswd(file: string): Promise<Users> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const reason = missing ? 'there is no such file' : (error as Error).message;
    throw new ConfigError([`access.htpasswd: cannot read ${file}: ${reason}`]);
  }
  return parseHtpasswd(text, file);
}

/** `name` is what messages call the file. @throws ConfigError with each line that cannot be used */
export function parseHtpasswd(text: string, name: string): Users {
  if (text.length > MAX_BYTES) throw new ConfigError([`${name}: larger than ${MAX_BYTES} bytes`]);
  const users = new Map<string, string>();
  const problems: string[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const colon = line.indexOf(':');
    const user = line.slice(0, Math.max(0, colon));
    const cost = Number(HASH.exec(line.slice(colon + 1))?.[1] ?? Number.NaN);
    const problem =
      user === '' || user.length > 64 || /\s/.test(user)
        ? 'expected NAME:HASH, the name of at most 64 characters'
        : Number.isNaN(cost)
          ? `the hash of ${user} is not bcrypt: make it with htpasswd -B`
          : cost < 4 || cost > MAX_COST
            ? `the cost of ${user} is ${cost}: expected 4 to ${MAX_COST}`
            : users.has(user)
              ? `${user} is there twice`
              : undefined;
    if (problem === undefined) users.set(user, line.slice(colon + 1));
    else problems.push(`${name}:${index + 1}: ${problem}`);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return users;
}

/**
 * A hash that no password has, as costly as the costliest of the file: an unknown user's log-in then
 * takes as long as a wrong password.
 */
export function hashOfNobody(users: Users): string {
  const costs = [...users.values()].map((hash) => hash.slice(4, 6)).sort();
  return `$2b$${costs.at(-1) ?? '10'}$${'.'.repeat(53)}`;
}
