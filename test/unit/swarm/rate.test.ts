import t from 'tap';
import { createMeter, createRateLimiter } from '../../../src/swarm/rate/index.ts';

t.test('a limit is kept whatever the size of the turns, and takers come in turn', async (t) => {
  const rate = 1_000_000;
  const started = performance.now();
  const limiter = createRateLimiter(rate);
  const used = [0, 0, 0];
  const done = Promise.withResolvers<void>();
  const again = (taker: number): void => {
    limiter.ask(() => {
      const bytes = 5_000 + 1_000 * taker;
      used[taker] = (used[taker] ?? 0) + bytes;
      if (used.reduce((sum, one) => sum + one, 0) >= 600_000) done.resolve();
      else setImmediate(again, taker);
      return bytes;
    });
  };
  for (const taker of [0, 1, 2]) again(taker);
  await done.promise;
  limiter.close();
  const total = used.reduce((sum, one) => sum + one, 0);
  const seconds = (performance.now() - started) / 1000;
  // A tenth of a second may be saved up, and the last turn may overdraw.
  t.ok(total <= rate * (seconds + 0.1) + 7_000, `${total} bytes in ${seconds} s`);
  const turns = used.map((bytes, taker) => bytes / (5_000 + 1_000 * taker));
  t.ok(Math.max(...turns) - Math.min(...turns) <= 2, `turns ${turns.join(', ')}`);
});

t.test('by a clock of its own the rate is exact', async (t) => {
  let now = 0;
  const limiter = createRateLimiter(1_000, () => now);
  let given = 0;
  const ask = (): void =>
    limiter.ask(() => {
      given += 50;
      return 50;
    });
  for (let turn = 0; turn < 20; turn++) ask();
  t.equal(given, 100, 'what was saved up');
  limiter.refund(50);
  ask();
  limiter.close();
  now += 10_000;
  t.ok(given <= 150);
});

t.test('another rate counts from then on; what is owed stays the same in time', async (t) => {
  let now = 0;
  const limiter = createRateLimiter(1_000_000, () => now);
  t.teardown(limiter.close);
  const take = (bytes: number): boolean => {
    let ran = false;
    limiter.ask(() => {
      ran = true;
      return bytes;
    });
    return ran;
  };
  t.ok(take(200_000), 'a tenth of a second is saved, and as much owed now');
  limiter.setRate(10_000);
  t.notOk(take(100));
  // By the old rate's bytes this debt would take ten seconds of the new rate.
  now = 101;
  limiter.setRate(10_000);
  t.notOk(take(2_000), 'whoever waited took the turn');
  now = 120;
  limiter.setRate(undefined);
  t.equal(limiter.limited, false);
  t.equal(limiter.quantumBytes, Number.POSITIVE_INFINITY);
  t.ok(take(50_000_000), 'nobody waits without a limit');
  limiter.setRate(1_000);
  t.equal(limiter.quantumBytes, 16_384);
  t.ok(take(1_000));
  t.notOk(take(1), 'and the new limit counts at once');
});

t.test('without a limit every turn runs at once', async (t) => {
  const limiter = createRateLimiter(undefined);
  let ran = 0;
  limiter.ask(() => ++ran);
  t.equal(ran, 1);
  t.equal(limiter.limited, false);
});

t.test('a meter follows the rate of the last seconds', async (t) => {
  const meter = createMeter(0);
  t.equal(meter.rate(0), 0);
  for (let at = 100; at <= 1_000; at += 100) {
    meter.add(100);
    meter.rate(at);
  }
  t.ok(Math.abs(meter.rate(1_000) - 1_000) < 10, 'right from the first second');
  t.ok(meter.rate(20_000) < 10, 'and forgets');
  t.equal(meter.total, 1_000);
});
