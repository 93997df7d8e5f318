/** The origin's pages in a headless Chromium (Debian's), and a cluster for them to show. */

import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import type { Test } from 'tap';
import {
  agentHere,
  type Member,
  originHere,
  pushImage,
  someBytes,
  type TestAgent,
  until,
} from './in-process.ts';

export interface Scene {
  readonly origin: Member;
  readonly agents: readonly TestAgent[];
  /** Begins a rollout of a new image of `bytes`, and answers its id. */
  rollOut(body: Readonly<Record<string, unknown>>): Promise<string>;
}

const ZONES = ['eu1/rack1', 'eu1/rack2', 'us2/rack1', 'us2/rack4'] as const;

export async function startBrowser(): Promise<Browser> {
  return puppeteer.launch({
    executablePath: '/usr/bin/chromium',
    // As root Chromium has no sandbox; what it shows is ours.
    args: ['--no-sandbox', '--disable-gpu', '--force-color-profile=srgb'],
  });
}

export async function openPage(
  browser: Browser,
  url: string,
): Promise<Page & { readonly errors: readonly string[] }> {
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  await page.goto(url);
  await page.waitForSelector('h1');
  return Object.assign(page, { errors });
}

/** An origin with agents in four zones, all of whom it knows, and an image `team/app:v1`. */
export async function startScene(t: Test, size: number, layers: readonly number[]): Promise<Scene> {
  const origin = await originHere(t);
  const agents = await Promise.all(
    Array.from({ length: size }, (_, at) =>
      agentHere(t, [origin.url], { nodeName: `node-${at + 1}`, zone: ZONES[at % ZONES.length] ?? '' }),
    ),
  );
  await until(async () => {
    const answer = await fetch(`${origin.url}/api/v1/nodes?state=here`);
    return ((await answer.json()) as { total: number }).total === size;
  });
  await pushImage(origin.url, 'team/app', 'v1', layers.map(someBytes));
  return {
    origin,
    agents,
    async rollOut(body) {
      const answer = await fetch(`${origin.url}/api/v1/rollouts`, {
        method: 'POST',
        body: JSON.stringify({ image: 'team/app:v1', nodes: '*', ...body }),
      });
      const view = (await answer.json()) as { id: string; detail?: string };
      if (answer.status !== 201) throw new Error(view.detail);
      return view.id;
    },
  };
}

/** Waits until the page shows this. */
export async function text(page: Page, wanted: string): Promise<void> {
  await shows(page, `document.body.innerText.includes(${JSON.stringify(wanted)})`);
}

/** Waits until an expression holds in the page. */
export async function shows(page: Page, expression: string): Promise<void> {
  await page.waitForFunction(expression, { timeout: 60_000 });
}
