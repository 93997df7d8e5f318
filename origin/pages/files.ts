/**
 * The files of the pages: their own code, whose types are stripped when it is first asked for, and the library's. What
 * is served was in this list when the program started; nothing of a request becomes a path.
 */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

export interface ServedFile {
  readonly type: string;
  /** Of the content; a strong validator (RFC 9110, 8.8.3). */
  readonly etag: string;
  readonly body: Buffer;
  readonly gzipped: Buffer;
}

export interface Files {
  /** Undefined: there is no such file. */
  get(name: string): Promise<ServedFile | undefined>;
  /** Modules of the pages, the library's included. */
  readonly modules: readonly string[];
}

const CLIENT = new URL('./client/', import.meta.url);
/** Names that the pages import, and the files that stand behind them. */
export const LIBRARIES = {
  preact: 'preact.mjs',
  'preact/hooks': 'preact-hooks.mjs',
} as const;
const TYPES: Readonly<Record<string, string>> = {
  ...{ ts: 'text/javascript; charset=utf-8', mjs: 'text/javascript; charset=utf-8' },
  ...{ css: 'text/css; charset=utf-8', svg: 'image/svg+xml' },
};

export function createFiles(): Files {
  const places = new Map<string, URL>();
  for (const name of readdirSync(CLIENT)) {
    if (/\.(?:ts|css|svg)$/.test(name)) places.set(name, new URL(name, CLIENT));
  }
  for (const [name, file] of Object.entries(LIBRARIES)) places.set(file, new URL(import.meta.resolve(name)));
  const files = new Map<string, Promise<ServedFile>>();
  return {
    async get(name) {
      const place = places.get(name);
      if (place === undefined) return undefined;
      let file = files.get(name);
      if (file === undefined) {
        file = load(name, place);
        files.set(name, file);
        file.catch(() => files.delete(name));
      }
      return file;
    },
    modules: [...places.keys()].filter((name) => /\.(?:ts|mjs)$/.test(name)).sort(),
  };
}

async function load(name: string, place: URL): Promise<ServedFile> {
  const source = await readFile(place, 'utf8');
  const extension = name.slice(name.lastIndexOf('.') + 1);
  const text =
    extension === 'ts'
      ? stripTypeScriptTypes(source)
      : source.replace(/\n\/\/# sourceMappingURL=.*\s*$/, '\n');
  const body = Buffer.from(text);
  const hash = createHash('sha256').update(body).digest('base64url').slice(0, 22);
  return {
    type: TYPES[extension] ?? 'application/octet-stream',
    etag: `"${hash}"`,
    body,
    gzipped: await promisify(gzip)(body, { level: 9 }),
  };
}
