/** The frame of every page, and which page a path is. */
import { type ComponentChildren, h, render } from 'preact';
import { NodesPage } from './nodes.ts';
import { OverviewPage } from './overview.ts';
import { Empty, Title } from './parts.ts';
import { ImagePage, RepositoriesPage, RepositoryPage } from './repositories.ts';
import { RolloutPage } from './rollout.ts';
import { RolloutsPage } from './rollouts.ts';
import { href, usePath } from './router.ts';
import { SwarmPage, SwarmsPage } from './swarms.ts';

const PLACES = [
  ['', 'Overview'],
  ['rollouts', 'Rollouts'],
  ['nodes', 'Nodes'],
  ['repositories', 'Repositories'],
  ['swarms', 'Swarms'],
] as const;

function pageOf(path: string): ComponentChildren {
  const [place = '', ...rest] = path.split('/').map(decodeURIComponent);
  const name = rest.join('/');
  if (place === '') return h(OverviewPage, null);
  if (place === 'rollouts')
    return name === '' ? h(RolloutsPage, null) : h(RolloutPage, { key: name, id: name });
  if (place === 'nodes' && name === '') return h(NodesPage, null);
  if (place === 'swarms') return name === '' ? h(SwarmsPage, null) : h(SwarmPage, { key: name, blob: name });
  if (place === 'repositories') {
    return name === '' ? h(RepositoriesPage, null) : h(RepositoryPage, { key: name, name });
  }
  if (place === 'images' && rest.length > 1) {
    return h(ImagePage, { key: name, name: rest.slice(0, -1).join('/'), reference: rest.at(-1) ?? '' });
  }
  return h('div', null, h(Title, { text: 'Not found' }), h(Empty, null, 'There is no such page.'));
}

function App(): ComponentChildren {
  const path = usePath();
  const place = path.split('/')[0] ?? '';
  const here = place === 'images' ? 'repositories' : place;
  return h(
    'div',
    { class: 'frame' },
    h('a', { class: 'skip', href: '#main' }, 'Skip to the content'),
    h(
      'header',
      { class: 'top' },
      h(
        'a',
        { class: 'brand', href: href() },
        h('img', { src: '/ui/files/icon.svg', alt: '', width: 26, height: 26 }),
        'Shoal',
      ),
      h(
        'nav',
        { 'aria-label': 'Pages' },
        PLACES.map(([part, text]) =>
          h('a', { key: part, href: href(part), 'aria-current': part === here ? 'page' : undefined }, text),
        ),
      ),
    ),
    h('main', { id: 'main', tabIndex: -1 }, pageOf(path)),
  );
}

render(h(App, null), document.body);
