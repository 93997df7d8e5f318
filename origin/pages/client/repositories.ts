/** What the origin holds by name: repositories, their tags, and images with their layers and swarms. */
import { type ComponentChildren, Fragment, h } from 'preact';
import { useState } from 'preact/hooks';
import { formatBytes, formatCount, formatTime, shortDigest } from './format.ts';
import { type Asked, useJson } from './json.ts';
import { Card, type Column, Empty, Pager, Problem, Table, Tile, Title } from './parts.ts';
import { href } from './router.ts';

interface Page {
  readonly next_page: string | null;
}

/** A listing that goes on by name, one page after another. */
function usePages<T extends Page>(path: string): Asked<T> & { readonly pager: ComponentChildren } {
  const [pages, setPages] = useState<readonly string[]>(['']);
  const asked = useJson<T>(`${path}?next_page=${encodeURIComponent(pages.at(-1) ?? '')}`);
  const next = asked.value?.next_page ?? null;
  const pager =
    (next !== null || pages.length > 1) &&
    h(Pager, {
      ...{ label: 'Pages', text: `Page ${pages.length}` },
      onBack: pages.length === 1 ? undefined : () => setPages(pages.slice(0, -1)),
      onNext: next === null ? undefined : () => setPages([...pages, next]),
    });
  return { ...asked, pager };
}

export function RepositoriesPage(): ComponentChildren {
  const { value, problem, pager } = usePages<Page & { repositories: readonly { readonly name: string }[] }>(
    '/api/v1/repository',
  );
  return h(
    Fragment,
    null,
    h(Title, { text: 'Repositories' }),
    problem !== undefined && h(Problem, { text: problem }),
    value !== undefined &&
      h(
        Card,
        { title: 'By name' },
        value.repositories.length === 0 &&
          h(Empty, null, 'Nothing was pushed here yet, nor fetched from an upstream.'),
        h(
          'ul',
          { class: 'plain' },
          value.repositories.map(({ name }) =>
            h('li', { key: name }, h('a', { href: href('repositories', name) }, name)),
          ),
        ),
        pager,
      ),
  );
}

interface Tag {
  readonly name: string;
  readonly manifest_digest: string;
  readonly is_manifest_list: boolean;
  readonly size: number | null;
  readonly last_modified: string;
}

export function RepositoryPage({ name }: { readonly name: string }): ComponentChildren {
  const { value, problem, pager } = usePages<Page & { tags: readonly Tag[] }>(
    `/api/v1/repository/${name}/tag/`,
  );
  const columns: readonly Column<Tag>[] = [
    { title: 'Tag', cell: (tag) => h('a', { href: href('images', name, tag.name) }, tag.name) },
    { title: 'Kind', cell: (tag) => (tag.is_manifest_list ? 'index' : 'image') },
    { title: 'Size', cell: ({ size }) => (size === null ? '–' : formatBytes(size)), numeric: true },
    { title: 'Pushed or confirmed', cell: (tag) => formatTime(tag.last_modified) },
    { title: 'Digest', cell: (tag) => h('span', { class: 'digest' }, shortDigest(tag.manifest_digest)) },
  ];
  return h(
    Fragment,
    null,
    h(
      Title,
      { text: name },
      h('p', { class: 'crumb' }, h('a', { href: href('repositories') }, 'Repositories'), ' /'),
    ),
    problem !== undefined && h(Problem, { text: problem }),
    value !== undefined &&
      h(
        Card,
        { title: 'Tags' },
        value.tags.length === 0
          ? h(Empty, null, 'No tag points into this repository.')
          : h(Table<Tag>, {
              caption: `Tags of ${name}`,
              columns,
              rows: value.tags,
              keyOf: (tag) => tag.name,
            }),
        pager,
      ),
  );
}

interface Layer {
  readonly index: number;
  readonly is_config: boolean;
  readonly blob_digest: string;
  readonly media_type: string;
  readonly compressed_size: number;
  readonly swarm: { readonly copies: number; readonly downloading: number } | null;
}

interface Image {
  readonly digest: string;
  readonly media_type: string;
  readonly is_manifest_list: boolean;
  readonly size: number | null;
  readonly pushed_at: string;
  readonly layers: readonly Layer[];
  readonly manifests: readonly {
    readonly digest: string;
    readonly media_type: string;
    readonly platform: string | null;
  }[];
}

const LAYERS: readonly Column<Layer>[] = [
  { title: 'Layer', cell: ({ index, is_config: isConfig }) => (isConfig ? 'config' : String(index)) },
  { title: 'Size', cell: (layer) => formatBytes(layer.compressed_size), numeric: true },
  {
    title: 'Copies on nodes',
    cell: ({ swarm }) => (swarm === null ? 'not here yet' : formatCount(swarm.copies)),
    numeric: true,
  },
  {
    title: 'Downloading',
    cell: ({ swarm }) => (swarm === null ? '–' : formatCount(swarm.downloading)),
    numeric: true,
  },
  {
    title: 'Swarm',
    cell: (layer) =>
      h('a', { class: 'digest', href: href('swarms', layer.blob_digest) }, shortDigest(layer.blob_digest)),
  },
  { title: 'Media type', cell: (layer) => layer.media_type },
];

export function ImagePage({
  name,
  reference,
}: {
  readonly name: string;
  readonly reference: string;
}): ComponentChildren {
  const { value, problem } = useJson<Image>(
    `/api/v1/repository/${name}/manifest/${encodeURIComponent(reference)}`,
  );
  const isDigest = reference.includes(':');
  return h(
    Fragment,
    null,
    h(
      Title,
      { text: isDigest ? `${name}@${shortDigest(reference)}` : `${name}:${reference}` },
      h(
        'p',
        { class: 'crumb' },
        h('a', { href: href('repositories') }, 'Repositories'),
        ' / ',
        h('a', { href: href('repositories', name) }, name),
        ' /',
      ),
    ),
    problem !== undefined && h(Problem, { text: problem }),
    value !== undefined && h(Known, { name, image: value }),
  );
}

function Known({ name, image }: { readonly name: string; readonly image: Image }): ComponentChildren {
  const layers = image.layers.filter((layer) => !layer.is_config);
  const least = Math.min(...layers.map(({ swarm }) => swarm?.copies ?? 0));
  return h(
    Fragment,
    null,
    h(
      'dl',
      { class: 'tiles big' },
      h(Tile, {
        label: 'Kind',
        value: image.is_manifest_list ? 'index' : 'image',
        note: formatTime(image.pushed_at),
      }),
      image.size !== null &&
        h(Tile, { label: 'Size', value: formatBytes(image.size), note: `${layers.length} layers` }),
      layers.length > 0 &&
        h(Tile, {
          label: 'Copies of its rarest layer',
          value: formatCount(least),
          note: 'on nodes, complete',
        }),
    ),
    h('p', { class: 'digest' }, image.digest),
    image.is_manifest_list
      ? h(
          Card,
          { title: 'Images' },
          h(
            'ul',
            { class: 'plain' },
            image.manifests.map(({ digest, platform }) =>
              h(
                'li',
                { key: digest },
                h('a', { href: href('images', name, digest) }, platform ?? shortDigest(digest)),
                ' ',
                h('span', { class: 'digest' }, shortDigest(digest)),
              ),
            ),
          ),
        )
      : h(
          Card,
          { title: 'Layers and their swarms' },
          h(Table<Layer>, {
            caption: 'Layers',
            columns: LAYERS,
            rows: image.layers,
            keyOf: ({ index }) => String(index),
          }),
        ),
  );
}
