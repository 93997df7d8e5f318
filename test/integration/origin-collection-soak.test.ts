/** A few seconds of what `node test/soak/collection.ts` does for two minutes. */
import t from 'tap';
import { collectionSoak } from '../support/collection-soak.ts';
import { testOrigin } from '../support/origin.ts';

t.test('clients see nothing of a collection that runs all the time', async (t) => {
  const leaseMs = 1_500;
  const origin = await testOrigin(t, { collection: { intervalMs: 20, leaseMs } });
  const figures = await collectionSoak({ url: origin.url, seconds: 6, clients: 4, leaseMs });
  t.same(figures.failures, []);
  t.ok(figures.images > 0, `${figures.images} images`);
  t.ok((await origin.metric('shoal_origin_gc_passes_total')) > 0);
  t.equal(await origin.metric('shoal_origin_gc_failures_total'), 0);
});
