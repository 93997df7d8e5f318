/** The merged configuration as YAML that the program would read again, each value with its source. */
import { Document, isMap, isScalar, isSeq, YAMLMap } from 'yaml';
import type { OptionTable } from './options.ts';
import type { Setting } from './resolve.ts';

export function printSettings(
  title: string,
  table: OptionTable,
  settings: ReadonlyMap<string, Setting>,
): string {
  const document = new Document(new YAMLMap());
  const unset: string[] = [];
  for (const [key, option] of Object.entries(table)) {
    const setting = settings.get(key);
    if (!setting) {
      unset.push(key);
      continue;
    }
    const path = key.split('.');
    const value = option.list
      ? document.createNode(setting.texts)
      : document.createNode(setting.texts[0] ?? '');
    for (const [index, scalar] of (isSeq(value) ? value.items : [value]).entries()) {
      if (isScalar(scalar)) scalar.comment = ` ${setting.sources?.[index] ?? setting.source}`;
    }
    groupAt(document, path.slice(0, -1)).add({ key: document.createNode(path.at(-1)), value });
  }
  document.commentBefore = ` ${title}`;
  const text = document.toString({ lineWidth: 0 });
  return unset.length === 0 ? text : `${text}# not set: ${unset.join(', ')}\n`;
}

function groupAt(document: Document, path: readonly string[]): YAMLMap {
  let map = document.contents as YAMLMap;
  for (const part of path) {
    const next = map.get(part);
    if (isMap(next)) {
      map = next;
      continue;
    }
    const made = new YAMLMap();
    map.add({ key: document.createNode(part), value: made });
    map = made;
  }
  return map;
}
