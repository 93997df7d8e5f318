/** WWW-Authenticate (RFC 9110, section 11.6.1) with quoted parameters, as the docker token flow writes it. */

export interface Challenge {
  /** In lower case: `basic`, `bearer`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Longer headers are cut: a challenge is a few hundred characters. */
const MAX_HEADER = 8_192;
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const NEXT = new RegExp(
  // A parameter, or the scheme of the next challenge.
  `[\\s,]*(?:(${TOKEN})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|(${TOKEN}))|(${TOKEN})(?=[\\s,]|$))`,
  'y',
);

export function formatChallenge(scheme: string, parameters: Readonly<Record<string, string>>): string {
  const texts = Object.entries(parameters).map(
    ([name, value]) => `${name}="${value.replace(/[^\x20-\x7e]/g, '?').replace(/["\\]/g, '\\$&')}"`,
  );
  return `${scheme} ${texts.join(',')}`;
}

/** The challenges of a header that may hold several. What cannot be read ends the list. */
export function parseChallenges(header: string): Challenge[] {
  const text = header.slice(0, MAX_HEADER);
  const found: { scheme: string; parameters: Record<string, string> }[] = [];
  NEXT.lastIndex = 0;
  for (let match = NEXT.exec(text); match !== null; match = NEXT.exec(text)) {
    const [, name, quoted, plain, scheme] = match;
    if (scheme !== undefined) {
      found.push({ scheme: scheme.toLowerCase(), parameters: Object.create(null) });
    } else if (name !== undefined) {
      const current = found.at(-1);
      if (current === undefined) break;
      current.parameters[name.toLowerCase()] = plain ?? (quoted ?? '').replace(/\\(.)/g, '$1');
    }
  }
  return found;
}
