/** Parts of the pages without a browser: the grid's geometry, rates, files, and who may change what. */
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { ProblemError } from '#http';
import { layOut, moveBy, placeAt } from '../../../origin/pages/client/layout.ts';
import { decodeCell, encodeCell } from '../../../origin/pages/client/messages.ts';
import { ratesOf, ticksOf } from '../../../origin/pages/client/throughput.ts';
import { isCrossSite } from '../../../origin/pages/cross-site.ts';
import { createFiles } from '../../../origin/pages/files.ts';
import { PAGE_HEADERS, shell } from '../../../origin/pages/shell.ts';
import { listNodes } from '../../../origin/rollouts/listing.ts';

t.test('every node has a square of its own, and its middle leads back to it', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 40, max: 1_400 }),
      fc.array(fc.integer({ min: 1, max: 4_000 }), { minLength: 1, maxLength: 6 }),
      (width, sizes) => {
        const layout = layOut(
          width,
          sizes.map((size, at) => ({ label: `${at}`, size })),
        );
        const pitch = layout.cell + layout.gap;
        for (const { from, size, y } of layout.groups) {
          for (const within of [0, size >> 1, size - 1]) {
            const x = (within % layout.columns) * pitch + layout.cell / 2;
            const top = y + Math.floor(within / layout.columns) * pitch + layout.cell / 2;
            if (x > width || top > layout.height || placeAt(layout, x, top) !== from + within) return false;
          }
        }
        return true;
      },
    ),
  );
});

t.test('keys lead from node to node and never out of the grid', async (t) => {
  const layout = layOut(300, [{ label: 'a', size: 100 }]);
  t.equal(moveBy('ArrowRight', 3, layout, 100), 4);
  t.equal(moveBy('ArrowDown', 3, layout, 100), 3 + layout.columns);
  t.equal(moveBy('ArrowUp', 3, layout, 100), 0);
  t.equal(moveBy('End', 3, layout, 100), 99);
  t.equal(moveBy('Home', 42, layout, 100), 0);
  t.equal(moveBy('x', 3, layout, 100), undefined);
});

t.test('a cell says state and progress', async (t) => {
  for (const state of ['waiting', 'done', 'failed', 'away', 'here'] as const) {
    t.equal(decodeCell(encodeCell(state, 0.5)).state, state);
    t.equal(encodeCell(state, 0.5).length, 1);
  }
  for (const share of [0, 0.26, 0.99, 1]) {
    const cell = encodeCell('fetching', share);
    t.equal(cell.length, 1);
    t.match(decodeCell(cell), { state: 'fetching' });
    t.ok(Math.abs(decodeCell(cell).share - share) <= 0.05);
  }
});

t.test('rates are what was received over the time', async (t) => {
  const points = Array.from({ length: 30 }, (_, at) => [at * 1000, at * 3_000, at * 1_000] as const);
  const rates = ratesOf(points);
  t.match(rates.at(-1), { at: 29, peer: 3_000, origin: 1_000 });
  t.same(ratesOf([]), []);
  t.same(ticksOf(7), [5]);
  t.same(ticksOf(4_500_000), [2_000_000, 4_000_000]);
});

t.test('another site may not have a browser change anything', async (t) => {
  const host = 'origin.example:5000';
  t.equal(isCrossSite({ host }, undefined), false, 'no browser');
  t.equal(isCrossSite({ host, 'sec-fetch-site': 'same-origin' }, undefined), false);
  t.equal(isCrossSite({ host, 'sec-fetch-site': 'none' }, undefined), false);
  t.equal(isCrossSite({ host, 'sec-fetch-site': 'cross-site' }, undefined), true);
  t.equal(isCrossSite({ host, 'sec-fetch-site': 'same-site' }, undefined), true);
  t.equal(isCrossSite({ host, origin: `http://${host}` }, undefined), false);
  t.equal(isCrossSite({ host, origin: 'http://evil.example' }, undefined), true);
  t.equal(isCrossSite({ host, origin: 'null' }, undefined), true);
  t.equal(
    isCrossSite({ host, origin: 'https://shoal.example' }, 'https://shoal.example'),
    false,
    'behind a proxy',
  );
});

t.test('modules come without types, compressed too, and under a tag of their content', async (t) => {
  const files = createFiles();
  t.equal(await files.get('../feed.ts'), undefined);
  t.equal(await files.get('tsconfig.json'), undefined);
  for (const name of files.modules) {
    const file = await files.get(name);
    t.match(file?.type, /^text\/javascript/);
    t.notMatch(file?.body.toString(), /^import type|: ComponentChildren|sourceMappingURL/m, name);
    t.same(file && gunzipSync(file.gzipped), file?.body);
    t.match(file?.etag, /^"[\w-]{22}"$/);
  }
  t.ok(files.modules.includes('main.ts') && files.modules.includes('preact.mjs'));
});

t.test('no script but files of the origin and the import map runs', async (t) => {
  const policy = PAGE_HEADERS['content-security-policy'];
  t.notMatch(policy, /unsafe|\*|https?:/);
  t.match(policy, /default-src 'none'.*frame-ancestors 'none'/);
  const scripts = shell(['a.ts']).match(/<script(?![^>]* src=)[^>]*>/g);
  t.same(scripts, ['<script type="importmap">']);
});

t.test('lists of nodes are chosen, sorted and paged', async (t) => {
  const nodes = ['c', 'a', 'b', 'd'].map((name, at) => ({
    ...{
      id: `id-${name}`,
      name: `node-${name}`,
      zone: at < 2 ? 'eu1/r1' : null,
      state: at === 3 ? 'away' : 'here',
    },
  }));
  const columns = { name: ({ name }: { name: string }) => name };
  const names = (query: object) =>
    listNodes(nodes, query, columns)
      .nodes.map(({ name }) => name.at(-1))
      .join('');
  t.equal(names({}), 'cabd');
  t.equal(names({ sort: 'name' }), 'abcd');
  t.equal(names({ sort: '-name', n: '2' }), 'dc');
  t.equal(names({ sort: '-name', n: '2', offset: '2' }), 'ba');
  t.equal(names({ state: 'away,failed' }), 'd');
  t.equal(names({ q: 'EU1' }), 'ca');
  t.equal(names({ q: 'id-b' }), 'b');
  t.match(listNodes(nodes, { n: '3' }, columns), { total: 4, next: 3 });
  t.match(listNodes(nodes, { n: '3', offset: '3' }, columns), { total: 4, next: null });
  for (const query of [{ n: '-1' }, { sort: 'constructor' }, { offset: 'x' }, { n: ['1', '2'] }]) {
    t.throws(() => listNodes(nodes, query, columns), ProblemError, JSON.stringify(query));
  }
});
