/** What several pages are made of. */
import { type ComponentChildren, h } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { countOf, formatCount, formatShare } from './format.ts';
import type { Connection, Live } from './live.ts';

/** The counts of nodes of a rollout, a wave or a zone. */
export interface Part {
  readonly nodes: number;
  readonly done: number;
  readonly failed: number;
  readonly away: number;
  readonly fetching: number;
  readonly waiting: number;
  readonly haveBytes: number;
  readonly totalBytes: number;
}

export const STATES = ['done', 'fetching', 'waiting', 'away', 'failed'] as const;

/** The top of a page; the heading takes the focus when one comes from another page. */
export function Title({
  text,
  children,
}: {
  readonly text: string;
  readonly children?: ComponentChildren;
}): ComponentChildren {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${text} · Shoal`;
  }, [text]);
  useEffect(() => {
    if (history.state !== null) heading.current?.focus();
  }, []);
  return h('div', { class: 'title' }, h('h1', { tabIndex: -1, ref: heading }, text), children);
}

const CONNECTION: Readonly<Record<Connection, string>> = {
  connecting: 'Connecting…',
  live: 'Live',
  lost: 'Connection lost. What is shown may be old; trying again…',
  gone: 'The origin no longer has this.',
};

/** Whether what is shown is what is. */
export function LiveMark({ live: { connection, problem } }: { readonly live: Live }): ComponentChildren {
  const text =
    problem === undefined ? CONNECTION[connection] : `${CONNECTION[connection]} The origin says: ${problem}.`;
  return h(
    'p',
    { class: `live ${connection}`, role: 'status' },
    h('span', { class: 'dot', 'aria-hidden': true }),
    text,
  );
}

export function Card(props: {
  readonly title: string;
  readonly note?: ComponentChildren;
  readonly class?: string;
  readonly children?: ComponentChildren;
}): ComponentChildren {
  const id = `card-${props.title.toLowerCase().replace(/[^a-z]+/g, '-')}`;
  return h(
    'section',
    { class: `card ${props.class ?? ''}`, 'aria-labelledby': id },
    h(
      'header',
      null,
      h('h2', { id }, props.title),
      props.note !== undefined && h('p', { class: 'note' }, props.note),
    ),
    props.children,
  );
}

export function Tile(props: {
  readonly label: string;
  readonly value: ComponentChildren;
  readonly note?: ComponentChildren;
  readonly mark?: string;
}): ComponentChildren {
  return h(
    'div',
    { class: 'tile' },
    h(
      'dt',
      null,
      props.mark !== undefined && h('span', { class: `swatch ${props.mark}`, 'aria-hidden': true }),
      props.label,
    ),
    h('dd', null, h('strong', null, props.value), props.note !== undefined && h('small', null, props.note)),
  );
}

/** Nodes by state as one bar, with its words for who does not see it. */
export function NodesBar({
  part,
  label,
}: {
  readonly part: Part;
  readonly label: string;
}): ComponentChildren {
  const words = STATES.filter((state) => part[state] > 0).map(
    (state) => `${formatCount(part[state])} ${state}`,
  );
  return h(
    'div',
    { class: 'bar', role: 'img', 'aria-label': `${label}: ${words.join(', ') || 'no nodes'}` },
    STATES.map(
      (state) =>
        part[state] > 0 &&
        h('span', { key: state, class: state, style: { width: `${(100 * part[state]) / part.nodes}%` } }),
    ),
  );
}

/** One amount beside others: `share` of the longest. */
export function AmountBar({
  share,
  kind,
}: {
  readonly share: number;
  readonly kind: string;
}): ComponentChildren {
  return h(
    'div',
    { class: 'bar', 'aria-hidden': true },
    h('span', { class: kind, style: { width: `${100 * share}%` } }),
  );
}

export function doneText({ done, nodes }: Part): string {
  return `${formatCount(done)} of ${countOf(nodes, 'node')} (${formatShare(nodes === 0 ? 0 : done / nodes)})`;
}

export function StateMark({ state }: { readonly state: string }): ComponentChildren {
  return h('span', { class: `state ${state}` }, state);
}

/** Nothing to show, or why there is nothing. */
export function Empty({ children }: { readonly children: ComponentChildren }): ComponentChildren {
  return h('p', { class: 'empty' }, children);
}

export function Problem({ text }: { readonly text: string }): ComponentChildren {
  return h('p', { class: 'problem', role: 'alert' }, text);
}

export interface Column<T> {
  readonly title: string;
  readonly cell: (row: T) => ComponentChildren;
  /** What the API sorts by. */
  readonly sort?: string;
  readonly numeric?: boolean;
}

/** A table that scrolls by itself where the screen is narrow. */
export function Table<T>(props: {
  readonly caption: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  readonly keyOf: (row: T) => string;
  /** As the API has it, a minus for falling. */
  readonly sort?: string | undefined;
  readonly onSort?: (sort: string) => void;
}): ComponentChildren {
  const { sort, onSort } = props;
  const head = ({ title, sort: by, numeric }: Column<T>): ComponentChildren => {
    const order =
      by === undefined ? undefined : sort === by ? 'ascending' : sort === `-${by}` ? 'descending' : undefined;
    const content =
      by === undefined || onSort === undefined
        ? title
        : h(
            'button',
            { type: 'button', class: 'sort', onClick: () => onSort(order === 'ascending' ? `-${by}` : by) },
            title,
            h(
              'span',
              { 'aria-hidden': true },
              order === 'ascending' ? ' ▲' : order === 'descending' ? ' ▼' : ' ↕',
            ),
          );
    return h('th', { key: title, scope: 'col', class: numeric ? 'number' : '', 'aria-sort': order }, content);
  };
  return h(
    'div',
    { class: 'scroll', tabIndex: 0, role: 'region', 'aria-label': props.caption },
    h(
      'table',
      null,
      h('caption', { class: 'unseen' }, props.caption),
      h('thead', null, h('tr', null, props.columns.map(head))),
      h(
        'tbody',
        null,
        props.rows.map((row) =>
          h(
            'tr',
            { key: props.keyOf(row) },
            props.columns.map(({ title, cell, numeric }) =>
              h('td', { key: title, class: numeric ? 'number' : '' }, cell(row)),
            ),
          ),
        ),
      ),
    ),
  );
}

/** Back and forth through an ordered list. */
export function Pager(props: {
  readonly label: string;
  readonly text: string;
  readonly onBack: (() => void) | undefined;
  readonly onNext: (() => void) | undefined;
}): ComponentChildren {
  const { onBack, onNext } = props;
  return h(
    'nav',
    { class: 'pager', 'aria-label': props.label },
    h('button', { type: 'button', disabled: onBack === undefined, onClick: onBack }, 'Previous'),
    h('span', { role: 'status' }, props.text),
    h('button', { type: 'button', disabled: onNext === undefined, onClick: onNext }, 'Next'),
  );
}
