/** Feeds of the pages: changes alone, the newest state for who is slow, nothing while nobody listens. */
import { once } from 'node:events';
import { PassThrough, type Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { createFeeds, type Feeds } from '../../../origin/pages/feed.ts';

const PERIOD_MS = 5;

interface Message {
  readonly id: string;
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Reads events one by one. */
function reader(stream: Readable) {
  let text = '';
  const source = stream[Symbol.asyncIterator]();
  return async (): Promise<Message | undefined> => {
    for (;;) {
      const end = text.indexOf('\n\n');
      if (end !== -1) {
        const block = text.slice(0, end);
        text = text.slice(end + 2);
        const fields = new Map(
          block.split('\n').map((line) => [line.split(':', 1)[0], line.replace(/^\w+: ?/, '')]),
        );
        const [event, data] = [fields.get('event'), fields.get('data')];
        if (event === undefined) continue;
        return { id: fields.get('id') ?? '', event, data: data ? JSON.parse(data) : {} };
      }
      const { done, value } = await source.next();
      if (done) return undefined;
      text += String(value);
    }
  };
}

function feedsOf(t: Test, listeners?: number): Feeds {
  const feeds = createFeeds({ periodMs: PERIOD_MS, ...(listeners && { listeners }) });
  t.teardown(() => feeds.close());
  return feeds;
}

function listening(feeds: Feeds, state: () => Record<string, unknown> | undefined, last?: string): Readable {
  const stream = feeds.listen(
    'feed',
    () => {
      const now = state();
      return now && Object.entries(now);
    },
    last,
  );
  if (stream === undefined) throw new Error('no place');
  return stream;
}

t.test('first all, then what changed, then what is gone', async (t) => {
  let state: Record<string, unknown> = { a: 1, b: ['x'] };
  const stream = listening(feedsOf(t), () => state);
  const next = reader(stream);
  t.match(await next(), { event: 'all', data: { a: 1, b: ['x'] } });
  state = { a: 2, b: ['x'] };
  t.strictSame((await next())?.data, { a: 2 });
  state = { a: 2 };
  t.strictSame((await next())?.data, { b: null });
  stream.destroy();
});

t.test('all who listen share one reading, and nobody listening ends it', async (t) => {
  let reads = 0;
  let value = 0;
  const feeds = feedsOf(t);
  const read = () => {
    reads += 1;
    return { value };
  };
  const streams = [listening(feeds, read), listening(feeds, read), listening(feeds, read)];
  t.equal(reads, 1);
  const readers = streams.map(reader);
  await Promise.all(readers.map((next) => next()));
  value = 1;
  const messages = await Promise.all(readers.map((next) => next()));
  t.same(new Set(messages.map((message) => message?.id)).size, 1);
  t.equal(feeds.size, 3);
  await Promise.all(
    streams.map((stream) => {
      const closed = once(stream, 'close');
      stream.destroy();
      return closed;
    }),
  );
  t.equal(feeds.size, 0);
  const before = reads;
  await new Promise((resolve) => setTimeout(resolve, 10 * PERIOD_MS));
  t.equal(reads, before);
});

t.test('a slow reader gets the newest state, not a queue', async (t) => {
  let value = 0;
  let reads = 0;
  const stream = listening(feedsOf(t), () => {
    reads += 1;
    value += 1;
    return { value, same: 'x'.repeat(1_000) };
  });
  // It reads nothing meanwhile: a pipe whose end is full.
  const full = new PassThrough({ highWaterMark: 1 });
  stream.pipe(full);
  while (reads < 40) await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
  t.ok(stream.readableLength + full.readableLength + full.writableLength < 4_000, 'little is kept for it');
  const next = reader(full);
  const seen: number[] = [];
  while ((seen.at(-1) ?? 0) < 40) seen.push((await next())?.data['value'] as number);
  t.ok(seen.length < 10, `it was told ${seen.length} of 40 states`);
  stream.destroy();
});

t.test('who comes back is told what is new since', async (t) => {
  let state: Record<string, unknown> = { a: 1, b: 1 };
  const feeds = feedsOf(t);
  const stays = listening(feeds, () => state);
  const stay = reader(stays);
  const first = await stay();
  state = { a: 1, b: 2 };
  await stay();
  const back = listening(feeds, () => state, first?.id);
  t.match(await reader(back)(), { event: 'changes', data: { b: 2 } });
  const stranger = listening(feeds, () => state, 'ffffffff.1');
  t.match(await reader(stranger)(), { event: 'all', data: { a: 1, b: 2 } });
  for (const stream of [stays, back, stranger]) stream.destroy();
});

t.test('a subject that is gone says so and ends', async (t) => {
  let there = true;
  const next = reader(listening(feedsOf(t), () => (there ? { a: 1 } : undefined)));
  await next();
  there = false;
  t.equal((await next())?.event, 'gone');
  t.equal(await next(), undefined);
});

t.test('places are bounded, and closing ends every stream', async (t) => {
  const feeds = feedsOf(t, 2);
  const streams = [listening(feeds, () => ({ a: 1 })), listening(feeds, () => ({ a: 1 }))];
  t.equal(
    feeds.listen('feed', () => []),
    undefined,
  );
  feeds.close();
  for (const stream of streams) {
    const next = reader(stream);
    let message: Message | undefined;
    do message = await next();
    while (message !== undefined);
  }
  t.equal(
    feeds.listen('feed', () => []),
    undefined,
  );
});
