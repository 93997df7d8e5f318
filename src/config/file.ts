/**
 * Reads a YAML configuration file into texts by key, each with the line it stands on. It knows the
 * keys only to tell a group from a value; what a text means is decided later, for every source alike.
 */
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLMap,
} from 'yaml';
import { nearest } from './nearest.ts';

/** One value of the file: its texts (one, unless it is a list) and its line, counted from 1. */
export interface FileEntry {
  readonly texts: readonly string[];
  readonly list: boolean;
  readonly line: number;
  /** The line of each text. */
  readonly lines: readonly number[];
}

export interface FileContent {
  readonly entries: ReadonlyMap<string, FileEntry>;
  /** Lines for the user: broken YAML, unknown keys, values of the wrong shape. */
  readonly problems: readonly string[];
}

/** More than any hand-written configuration; a wrong path to a huge file is refused early. */
const MAX_BYTES = 1024 * 1024;

/** `name` is what messages call the file; `fieldsOf` tells the parts of a key whose values may be maps. */
export function readConfigText(
  text: string,
  name: string,
  keys: readonly string[],
  fieldsOf: (key: string) => readonly string[] | undefined = () => undefined,
): FileContent {
  const entries = new Map<string, FileEntry>();
  const problems: string[] = [];
  if (Buffer.byteLength(text) > MAX_BYTES) {
    return { entries, problems: [`${name}: larger than ${MAX_BYTES} bytes; is this the right file?`] };
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const lineOf = (node: { range?: readonly number[] | null | undefined } | null | undefined): number =>
    lines.linePos(node?.range?.[0] ?? 0).line;
  for (const error of document.errors) {
    problems.push(`${name}:${lines.linePos(error.pos[0]).line}: ${firstLine(error.message)}`);
  }
  if (problems.length > 0) return { entries, problems };

  const groups = new Set(keys.flatMap(parentsOf));
  const walk = (node: unknown, prefix: string, at: number): void => {
    const map = resolve(node, document);
    if (!isMap(map)) {
      const where = prefix === '' ? 'the file' : `'${prefix.slice(0, -1)}'`;
      problems.push(`${name}:${at}: ${where} must hold keys and values, such as 'listen: 127.0.0.1:5000'`);
      return;
    }
    for (const pair of map.items) {
      const keyNode = isScalar(pair.key) ? pair.key : undefined;
      const key = `${prefix}${String(keyNode?.value ?? '')}`;
      const line = lineOf(keyNode ?? map);
      if (keys.includes(key)) {
        const value = resolve(pair.value, document);
        const items = isSeq(value) ? value.items.map((item) => resolve(item, document)) : [value];
        const fields = fieldsOf(key);
        const texts = items.map((item) =>
          fields !== undefined && isMap(item)
            ? recordText(item, fields, document, (node, problem) =>
                problems.push(`${name}:${lineOf(node)}: '${key}': ${problem}`),
              )
            : item === null
              ? ''
              : scalarText(item),
        );
        if (texts.every((each) => each !== undefined)) {
          const lines = items.map((item) => (isNode(item) && isSeq(value) ? lineOf(item) : line));
          entries.set(key, { texts, list: isSeq(value), line, lines });
        } else {
          const shape = fields === undefined ? '' : `, each with ${fields.join(', ')}`;
          problems.push(`${name}:${line}: '${key}' must be a single value or a list of them${shape}`);
        }
      } else if (groups.has(key)) {
        walk(pair.value, `${key}.`, line);
      } else {
        problems.push(`${name}:${line}: ${unknownKey(key, keys)}`);
      }
    }
  };
  if (document.contents !== null && !isEmptyScalar(document.contents)) walk(document.contents, '', 1);
  return { entries, problems };
}

/** The sentence about a key that the table does not have. */
export function unknownKey(key: string, keys: readonly string[]): string {
  const near = nearest(key, keys);
  return near === undefined
    ? `unknown key '${key}'; the keys are ${keys.join(', ')}`
    : `unknown key '${key}'; did you mean '${near}'?`;
}

function parentsOf(key: string): string[] {
  const parts = key.split('.');
  return parts.slice(0, -1).map((_, index) => parts.slice(0, index + 1).join('.'));
}

function resolve(node: unknown, document: Document): unknown {
  return isAlias(node) ? node.resolve(document as Document<Node>) : node;
}

function isEmptyScalar(node: unknown): boolean {
  return isScalar(node) && node.value === null;
}

/** A map of named parts as the text that a flag would have. Whatever is wrong is told, and left out. */
function recordText(
  map: YAMLMap,
  fields: readonly string[],
  document: Document,
  tell: (node: Node, problem: string) => void,
): string {
  const words: string[] = [];
  for (const pair of map.items) {
    const keyNode = isScalar(pair.key) ? pair.key : map;
    const field = isScalar(pair.key) ? String(pair.key.value) : '';
    const value = resolve(pair.value, document);
    const parts = isSeq(value)
      ? value.items.map((item) => scalarText(resolve(item, document)))
      : [scalarText(value)];
    const wrong = parts.find((part) => part === undefined || part === '' || /[\s,;]/.test(part));
    if (!fields.includes(field)) tell(keyNode, unknownKey(field, fields));
    else if (parts.includes(undefined)) tell(keyNode, `${field} must be a word or a list of words`);
    else if (wrong !== undefined) tell(keyNode, `${field}: '${wrong}' must be one word`);
    else words.push(`${field}=${parts.join(',')}`);
  }
  return words.join(' ');
}

/** A scalar as it is written, so that 010 stays 010. Undefined for a map or a nested list. */
function scalarText(node: unknown): string | undefined {
  if (!isScalar(node)) return undefined;
  return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value ?? ''));
}

function firstLine(message: string): string {
  return message.split('\n', 1)[0] ?? message;
}
