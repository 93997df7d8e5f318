/** A rollout's page in Debian's Chromium while the rollout runs: what it transfers, and whether its frames come in time. */
import puppeteer from 'puppeteer-core';

export interface PageFigures {
  /** Until the squares of the nodes are there. */
  readonly shownMs: number;
  /** Bytes over the network: document, modules and the table's rows, which are asked for again; what the feed told. */
  readonly loadBytes: number;
  readonly feedBytes: number;
  readonly seconds: number;
  readonly framesPerSecond: number;
  /** The longest time between two frames. */
  readonly longestFrameMs: number;
}

export interface WatchedPage {
  stop(): Promise<PageFigures>;
}

const COUNT_FRAMES = `
  window.frames_ = { count: 0, longest: 0, last: performance.now(), since: performance.now() };
  const count = (now) => {
    const all = window.frames_;
    all.count += 1;
    all.longest = Math.max(all.longest, now - all.last);
    all.last = now;
    requestAnimationFrame(count);
  };
  requestAnimationFrame(count);
`;

/** Resolves when the page shows the nodes. `url`: the page of a rollout. */
export async function watchPage(url: string): Promise<WatchedPage> {
  const browser = await puppeteer.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu'],
  });
  try {
    const page = await browser.newPage();
    await page.setViewport({ width: 1_280, height: 1_600 });
    const network = await page.createCDPSession();
    await network.send('Network.enable');
    const feeds = new Set<string>();
    const bytes = { load: 0, feed: 0 };
    network.on('Network.requestWillBeSent', ({ requestId, request }) => {
      if (request.url.includes('/api/v1/live/')) feeds.add(requestId);
    });
    // Of an answer that ends this counts what was transferred, headers and compression included; a feed does not end.
    network.on('Network.loadingFinished', ({ encodedDataLength }) => {
      bytes.load += encodedDataLength;
    });
    network.on('Network.dataReceived', ({ requestId, dataLength }) => {
      if (feeds.has(requestId)) bytes.feed += dataLength;
    });
    const from = performance.now();
    await page.goto(url);
    await page.waitForSelector('canvas');
    const shownMs = performance.now() - from;
    await page.evaluate(COUNT_FRAMES);
    return {
      async stop() {
        const frames = (await page.evaluate(
          '({ ...window.frames_, seconds: (performance.now() - window.frames_.since) / 1000 })',
        )) as { count: number; longest: number; seconds: number };
        await browser.close();
        return {
          ...{ shownMs, loadBytes: bytes.load, feedBytes: bytes.feed },
          seconds: frames.seconds,
          framesPerSecond: frames.count / frames.seconds,
          longestFrameMs: frames.longest,
        };
      },
    };
  } catch (error) {
    await browser.close();
    throw error;
  }
}
