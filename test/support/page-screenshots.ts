/**
 * `npm run screenshots [-- --out DIR]`: the pictures of docs/pages.md, of an origin, twelve agents and a rollout that
 * runs, in Debian's Chromium. They are compressed by pngquant when it is installed.
 */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import t from 'tap';
import { pushImage, someBytes } from './in-process.ts';
import { openPage, shows, startBrowser, startScene, text } from './pages.ts';

const run = promisify(execFile);
const { values } = parseArgs({ options: { out: { type: 'string', default: 'docs/pages' } } });
const WIDE = { width: 1120, height: 760 };
const PHONE = { width: 390, height: 780, deviceScaleFactor: 2 };

t.test('screenshots', async (t) => {
  await mkdir(values.out, { recursive: true });
  const { origin, agents, rollOut } = await startScene(t, 12, [9_000_000, 5_000_000, 60_000]);
  await pushImage(origin.url, 'team/other', 'v1', [someBytes(200_000)]);
  const browser = await startBrowser();
  t.teardown(() => browser.close());
  const page = await openPage(browser, `${origin.url}/ui/`);
  await page.setViewport(WIDE);

  const shot = async (name: string, fullPage = false): Promise<void> => {
    const file = path.join(values.out, `${name}.png`) as `${string}.png`;
    await page.screenshot({ path: file, fullPage });
    await run('pngquant', ['--force', '--skip-if-larger', '--output', file, '64', file]).catch(
      () => undefined,
    );
  };
  const go = async (place: string, shown: string): Promise<void> => {
    await page.goto(`${origin.url}/ui/${place}`);
    await text(page, shown);
  };
  const scheme = (value: 'light' | 'dark') =>
    page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }]);

  await agents.at(-1)?.close();
  const first = await rollOut({ waves: '100%', maxUnavailable: '2', nodes: 'zone=eu1/*' });
  await go(`rollouts/${first}`, '(100 %)');
  const id = await rollOut({ waves: '3,7,100%', maxUnavailable: '3', bytesPerSecond: 7_000_000 });
  await go(`rollouts/${id}`, 'wave 2 of 3 has begun');
  // The chart has something to show.
  await shows(page, "(document.querySelector('.chart path')?.getAttribute('d') ?? '').length > 250");
  await shot('rollout', true);
  await scheme('dark');
  await shot('rollout-dark');
  await scheme('light');
  await page.setViewport(PHONE);
  await shot('rollout-phone');
  await page.setViewport(WIDE);
  await go('', 'Nodes here');
  await shot('overview');
  await scheme('dark');
  await shot('overview-dark');
  await scheme('light');
  await go('nodes', 'away first');
  await shot('nodes');
  await go('swarms', 'Shared now');
  await shot('swarms');
  await go('repositories', 'team/other');
  await shot('repositories');
  await go('repositories/team/app', 'Digest');
  await shot('tags');
  await go('images/team/app/v1', 'Layers and their swarms');
  await shot('image');
  await page.click('tbody tr:nth-child(2) a');
  await text(page, 'Complete copies');
  await shot('swarm');
  await origin.close();
  await text(page, 'Connection lost');
  await shot('lost');
  t.same(
    page.errors.filter((error) => !/net::ERR/.test(error)),
    [],
  );
});
