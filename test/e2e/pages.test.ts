/**
 * The origin's pages in Debian's Chromium: real data of a real origin with agents and a rollout that runs, live,
 * by keyboard alone, and without serious findings of axe-core, in light, in dark and on a phone.
 */
import axe from 'axe-core';
import type { Page } from 'puppeteer-core';
import t, { type Test } from 'tap';
import { accessOf } from '../support/access.ts';
import { needs } from '../support/debian.ts';
import { agentHere, makeFolder, originHere, pushImage, someBytes, until } from '../support/in-process.ts';
import { openPage, type Scene, shows, startBrowser, startScene, text } from '../support/pages.ts';
import { freePort } from '../support/ports.ts';

t.before(() => needs(t, ['chromium']));

async function browserFor(t: Test): Promise<Awaited<ReturnType<typeof startBrowser>>> {
  const browser = await startBrowser();
  t.teardown(() => browser.close());
  return browser;
}

/** What axe-core finds that is serious or critical. */
async function findings(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const found = (await page.evaluate(
    "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(({ id, impact, nodes }) => ({ id, impact, target: nodes.map(({ target }) => target.join(' ')).join(', ') })))",
  )) as { id: string; impact: string; target: string }[];
  return found
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, target }) => `${id}: ${target}`);
}

/** Goes on with Tab, or back with Shift and Tab, until the focus is on this. */
async function tabTo(page: Page, selector: string, way: 'on' | 'back' = 'on'): Promise<void> {
  for (let presses = 0; presses < 80; presses += 1) {
    if (way === 'back') await page.keyboard.down('Shift');
    await page.keyboard.press('Tab');
    if (way === 'back') await page.keyboard.up('Shift');
    if (await page.evaluate(`document.activeElement.matches(${JSON.stringify(selector)})`)) return;
  }
  throw new Error(`Tab does not lead to ${selector}`);
}

/** A rollout that cannot end by itself while the test looks: its rate is low. */
const slowly = { waves: '2,100%', bytesPerSecond: 200_000, maxUnavailable: '2' };

async function placesOf({ origin }: Scene, id: string): Promise<readonly [string, string][]> {
  const answer = await fetch(`${origin.url}/api/v1/repository/team/app/manifest/v1`);
  const { layers } = (await answer.json()) as { layers: { blob_digest: string }[] };
  return [
    ['', 'Nodes here'],
    ['rollouts', 'team/app:v1'],
    [`rollouts/${id}`, 'node-1'],
    ['nodes', 'node-1'],
    ['repositories', 'team/app'],
    ['repositories/team/app', 'sha256:'],
    ['images/team/app/v1', 'Layers and their swarms'],
    ['swarms', 'Shared now'],
    [`swarms/${layers.at(1)?.blob_digest}`, 'Complete copies'],
    ['nowhere', 'There is no such page'],
  ];
}

t.test('each page shows what is, and axe-core finds nothing serious', async (t) => {
  const scene = await startScene(t, 5, [4_000_000, 30_000]);
  const id = await scene.rollOut(slowly);
  const page = await openPage(await browserFor(t), `${scene.origin.url}/`);
  t.equal(new URL(page.url()).pathname, '/ui/');
  const wide = { width: 1_200, height: 900 };
  const phone = { width: 360, height: 740, isMobile: true };
  for (const [place, shown] of await placesOf(scene, id)) {
    await page.goto(`${scene.origin.url}/ui/${place}`);
    await text(page, shown);
    for (const [scheme, viewport] of [
      ['light', wide],
      ['dark', wide],
      ['light', phone],
    ] as const) {
      await page.setViewport(viewport);
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      t.same(await findings(page), [], `${place || 'overview'}, ${scheme}, ${viewport.width} px`);
      const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
      t.ok(Number(overflow) <= 0, `${place || 'overview'} is not wider than ${viewport.width} px`);
    }
  }
  t.same(page.errors, []);
});

t.test('a rollout goes on before the eyes, without loading the page anew', async (t) => {
  const scene = await startScene(t, 4, [6_000_000]);
  const id = await scene.rollOut({ waves: '1,100%', bytesPerSecond: 3_000_000 });
  const page = await openPage(await browserFor(t), `${scene.origin.url}/ui/rollouts/${id}`);
  await text(page, 'wave 1 of 2 has begun');
  await page.evaluate('window.wasHere = true');
  await text(page, 'wave 2 of 2 has begun');
  await text(page, '4 of 4 nodes (100 %)');
  await text(page, 'less than direct pulls');
  await shows(page, "document.querySelector('.title .state').textContent === 'done'");
  t.equal(await page.evaluate('window.wasHere'), true);
  t.same(page.errors, []);
});

t.test('by keyboard alone: to a rollout, through its nodes, pause and resume', async (t) => {
  const scene = await startScene(t, 4, [6_000_000]);
  const id = await scene.rollOut(slowly);
  const page = await openPage(await browserFor(t), `${scene.origin.url}/ui/`);
  await text(page, 'team/app:v1');
  await page.keyboard.press('Tab');
  t.equal(await page.evaluate('document.activeElement.textContent'), 'Skip to the content');
  await tabTo(page, 'nav a[href="/ui/rollouts"]');
  await page.keyboard.press('Enter');
  await tabTo(page, `main a[href="/ui/rollouts/${id}"]`);
  await page.keyboard.press('Enter');
  await shows(page, "document.activeElement.matches('h1') && document.querySelector('canvas') !== null");
  await tabTo(page, 'canvas');
  const told = () => page.evaluate("document.querySelector('.told').textContent");
  await shows(page, "/node-/.test(document.querySelector('.told').textContent)");
  const first = await told();
  await page.keyboard.press('ArrowRight');
  await shows(page, `document.querySelector('.told').textContent !== ${JSON.stringify(first)}`);
  await page.keyboard.press('End');
  await text(page, 'Wave 2');
  await page.keyboard.press('Enter');
  await text(page, 'Peer id');
  await tabTo(page, 'button.sort');
  await page.keyboard.press('Enter');
  await shows(page, "document.querySelector('th[aria-sort=ascending]') !== null");
  await tabTo(page, '.commands button', 'back');
  await page.keyboard.press('Tab');
  await tabTo(page, '.commands button:first-child', 'back');
  await page.keyboard.press('Space');
  await shows(page, "document.querySelector('.title .state').textContent === 'paused'");
  await shows(page, "document.querySelector('.commands button').textContent === 'Resume'");
  await page.evaluate('document.activeElement.blur()');
  await tabTo(page, '.commands button:first-child');
  await page.keyboard.press('Enter');
  await shows(page, "document.querySelector('.title .state').textContent === 'running'");
  await tabTo(page, '.commands button:last-child');
  await page.keyboard.press('Enter');
  await text(page, 'Cancel for good?');
  await tabTo(page, '.commands button.danger', 'back');
  await page.keyboard.press('Enter');
  await shows(page, "document.querySelector('.title .state').textContent === 'cancelled'");
  t.same(page.errors, []);
});

t.test('a connection that is lost is said, and comes back by itself', async (t) => {
  const [port, data] = [await freePort(), await makeFolder(t)];
  const listen = { host: '127.0.0.1', port };
  const first = await originHere(t, { listen, data });
  const page = await openPage(await browserFor(t), `${first.url}/ui/`);
  await text(page, 'Nodes here');
  await first.close();
  await text(page, 'Connection lost');
  const second = await originHere(t, { listen, data });
  await pushImage(second.url, 'team/app', 'v1', [someBytes(1_000)]);
  await shows(page, "document.querySelector('.live').textContent === 'Live'");
  await text(page, '2 blobs');
});

t.test('with access control: the browser asks for a log-in, and the feeds need it too', async (t) => {
  const folder = await makeFolder(t);
  const { access } = await accessOf(folder, { admin: 'secret' }, ['subject=user:admin actions=manage']);
  const origin = await originHere(t, { access });
  const bare = await fetch(`${origin.url}/ui/`);
  t.equal(bare.status, 401);
  t.match(bare.headers.get('www-authenticate'), /^Basic/);
  for (const path of ['live/overview', 'live/nodes', 'repository', 'nodes']) {
    t.equal((await fetch(`${origin.url}/api/v1/${path}`)).status, 401, path);
  }
  const browser = await browserFor(t);
  const page = await browser.newPage();
  await page.authenticate({ username: 'admin', password: 'secret' });
  await page.goto(`${origin.url}/ui/`);
  await text(page, 'Nodes here');
  await shows(page, "document.querySelector('.live').textContent === 'Live'");
});

t.test('what an agent says is text, and another site cannot have the browser pause', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url], { nodeName: 'node-1' });
  let node: string | undefined;
  await until(async () => {
    const { nodes } = (await (await fetch(`${origin.url}/api/v1/nodes`)).json()) as {
      nodes: { id: string }[];
    };
    node = nodes[0]?.id;
    return node !== undefined;
  });
  await agent.close();
  const { digest } = await pushImage(origin.url, 'team/app', 'v1', [someBytes(1_000)]);
  const begun = await fetch(`${origin.url}/api/v1/rollouts`, {
    method: 'POST',
    body: JSON.stringify({ image: `team/app@${digest}`, nodes: '*', maxUnavailable: '0' }),
  });
  const { id } = (await begun.json()) as { id: string };
  const bytes = { peer: 0, originSwarm: 0, originHttp: 0, upstream: 0, resumed: 0, present: 0 };
  const reason = '<img src=x onerror="window.hit = true">';
  await fetch(`${origin.url}/api/v1/agents/${node}/reports`, {
    method: 'POST',
    body: JSON.stringify({ reports: [{ id, attempt: 0, state: 'failed', totalBytes: 1, bytes, reason }] }),
  });
  const page = await openPage(await browserFor(t), `${origin.url}/ui/rollouts/${id}`);
  await text(page, reason);
  t.equal(await page.evaluate('window.hit'), undefined);
  t.equal(await page.evaluate("document.querySelector('main img')"), null);
  for (const headers of [{ origin: 'http://evil.example' }, { 'sec-fetch-site': 'cross-site' }]) {
    const answer = await fetch(`${origin.url}/api/v1/rollouts/${id}/cancel`, { method: 'POST', headers });
    t.equal(answer.status, 403);
  }
  t.equal((await fetch(`${origin.url}/api/v1/rollouts/${id}/cancel`, { method: 'POST' })).status, 200);
});
