import t from 'tap';
import { createAdjustableLimiter } from '../../../src/swarm/rate/adjustable.ts';

t.test('a limit that changes: nobody who waits is lost, and the new rate counts from then on', async (t) => {
  let at = 0;
  const limiter = createAdjustableLimiter(undefined, () => at);
  t.teardown(() => limiter.close());
  const ask = (bytes: number): boolean => {
    let given = false;
    limiter.ask(() => {
      given = true;
      return bytes;
    });
    return given;
  };
  t.ok(ask(10_000_000), 'no limit');
  limiter.setRate(1_000_000);
  t.ok(limiter.limited);
  t.ok(ask(500_000), 'a turn may overdraw');
  const { promise, resolve } = Promise.withResolvers<void>();
  limiter.ask(() => {
    resolve();
    return 0;
  });
  t.equal(limiter.waiting, 1, 'the debt delays the next');
  limiter.setRate(2_000_000);
  t.ok(ask(1), 'by the new limit at once');
  limiter.setRate(undefined);
  t.notOk(limiter.limited);
  t.equal(limiter.waiting, 1);
  at = 1_000;
  await promise;
  t.equal(limiter.waiting, 0);
});
