/**
 * Which nodes: terms split by commas, of which one must hold; a term's conditions are joined by `&`, and
 * all must hold.
 *
 *     *                        every node
 *     zone=eu1                 the zone eu1 and all that is in it; so does zone=eu1/*
 *     zone=eu?/rack7           a part is a glob: * is any text without a slash, ? one character of it
 *     name=web-*               by the node's name (agent: --node-name)
 *     id=12D3KooW…             by its peer id
 *     zone=eu1&name=web-*      both
 *     zone=eu1,name=db-1       either
 */
export interface Selectable {
  readonly id: string;
  readonly name: string;
  readonly zone?: string | undefined;
}

export type Selector = (node: Selectable) => boolean;

const MAX_LENGTH = 1_024;
const PATTERN = /^[A-Za-z0-9._*?/-]+$/;

/** @throws RangeError with what is wrong with the text, in words for its author */
export function parseSelector(text: string): Selector {
  if (text.length > MAX_LENGTH) throw new RangeError(`a selector has at most ${MAX_LENGTH} characters`);
  const terms = text.split(',').map((term) => parseTerm(term.trim()));
  return (node) => terms.some((conditions) => conditions.every((holds) => holds(node)));
}

function parseTerm(term: string): Selector[] {
  return term.split('&').map((text) => parseCondition(text.trim()));
}

function parseCondition(text: string): Selector {
  if (text === '*') return () => true;
  const [, key, pattern = ''] = /^(zone|name|id)=(.*)$/.exec(text) ?? [];
  if (key === undefined) {
    throw new RangeError(`'${text}' is no condition: use zone=eu1/*, name=web-*, id=12D3KooW… or *`);
  }
  if (!PATTERN.test(pattern)) {
    throw new RangeError(`${key}=: '${pattern}' has other characters than letters, digits and ._-/*?`);
  }
  if (key === 'zone') return zoneCondition(pattern);
  const matches = glob(pattern);
  return key === 'name' ? ({ name }) => matches(name) : ({ id }) => matches(id);
}

/** A zone that is named contains what is below it. */
function zoneCondition(pattern: string): Selector {
  const parts = pattern.replace(/\/\*$/, '').split('/');
  if (parts.some((part) => part === '')) throw new RangeError(`zone=${pattern}: a part of it is empty`);
  const matchers = parts.map(glob);
  return ({ zone }) => {
    if (zone === undefined) return false;
    const own = zone.split('/');
    return matchers.every((matches, at) => own[at] !== undefined && matches(own[at]));
  };
}

/** `*` and `?`. Without backtracking past the newest star, so that no pattern takes more than length × length steps. */
function glob(pattern: string): (text: string) => boolean {
  return (text) => {
    let at = 0;
    let position = 0;
    let star = -1;
    let resume = 0;
    while (position < text.length) {
      const wanted = pattern[at];
      if (wanted === '*') {
        star = at++;
        resume = position;
      } else if (wanted === '?' || wanted === text[position]) {
        at += 1;
        position += 1;
      } else if (star >= 0) {
        at = star + 1;
        position = ++resume;
      } else return false;
    }
    while (pattern[at] === '*') at += 1;
    return at === pattern.length;
  };
}
