import fc from 'fast-check';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import { type Candidate, chooseVictims } from '../../../daemon/eviction.ts';

const candidate = fc.record({
  bytes: fc.integer({ min: 1, max: 1_000 }),
  usedAt: fc.integer({ min: 0, max: 1_000 }),
  others: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
});
const candidates = fc
  .array(candidate, { maxLength: 40 })
  .map((all) => all.map((one, index) => ({ ...one, digest: sha256DigestOf(Buffer.of(index)) })));
const sum = (all: readonly Candidate[]): number => all.reduce((total, { bytes }) => total + bytes, 0);
const names = (all: readonly Candidate[]): string[] => all.map(({ digest }) => digest);

t.test('what goes is enough, no more than needed, and each blob once', async () => {
  fc.assert(
    fc.property(candidates, fc.nat(20_000), fc.nat(20_000), (all, wanted, keptBack) => {
      const victims = chooseVictims(all, wanted, keptBack);
      if (new Set(names(victims)).size !== victims.length) return false;
      if (sum(victims) < wanted) return victims.length === all.length;
      return wanted === 0 ? victims.length === 0 : sum(victims.slice(0, -1)) < wanted;
    }),
  );
});

t.test('no last copy that is kept back goes before all others are gone', async () => {
  fc.assert(
    fc.property(candidates, fc.nat(20_000), (all, wanted) => {
      const victims = chooseVictims(all, wanted, Number.POSITIVE_INFINITY);
      const firstLast = victims.findIndex(({ others }) => others === 0);
      if (firstLast < 0) return true;
      const before = victims.slice(0, firstLast);
      return before.length === all.filter(({ others }) => others !== 0).length;
    }),
  );
});

t.test('where nobody knows of others, or all are last copies, it is least recently used', async () => {
  fc.assert(
    fc.property(candidates, fc.nat(20_000), fc.nat(20_000), fc.boolean(), (all, wanted, keptBack, last) => {
      const alike = all.map((one) => ({ ...one, others: last ? 0 : undefined }));
      const victims = chooseVictims(alike, wanted, keptBack);
      const byAge = alike.toSorted((a, b) => a.usedAt - b.usedAt);
      return names(victims).join() === names(byAge.slice(0, victims.length)).join();
    }),
  );
});

t.test('no more than their share of last copies is kept back, those that were used last', async () => {
  fc.assert(
    fc.property(candidates, fc.nat(5_000), (all, keptBack) => {
      const order = chooseVictims(all, Number.POSITIVE_INFINITY, keptBack);
      let tail = order.length;
      while (tail > 0 && order[tail - 1]?.others === 0) tail -= 1;
      const shared = order.slice(0, tail);
      const oldestShared = Math.min(...shared.filter((one) => one.others !== 0).map((one) => one.usedAt));
      // A last copy that stands among the others stands there by its age.
      const early = shared.filter((one) => one.others === 0);
      return (
        early.every((one) => order.indexOf(one) < tail) && (shared.length > 0 || oldestShared === Infinity)
      );
    }),
  );
  const blob = (name: number, usedAt: number, others: number): Candidate => ({
    ...{ digest: sha256DigestOf(Buffer.of(name)), bytes: 10, usedAt, others },
  });
  const [old, older, hot] = [blob(1, 2, 0), blob(2, 1, 0), blob(3, 9, 2)] as const;
  t.same(chooseVictims([old, older, hot], 30, 20), [hot, older, old], 'both are kept back');
  t.same(chooseVictims([old, older, hot], 30, 10), [older, hot, old], 'the share is full');
  t.same(chooseVictims([old, older, hot], 30, 0), [older, old, hot], 'nothing is kept back');
});
