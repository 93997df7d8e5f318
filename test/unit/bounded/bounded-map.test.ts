import fc from 'fast-check';
import t from 'tap';
import { createBoundedMap } from '#bounded';

t.test('what was set longest ago goes first', async (t) => {
  const map = createBoundedMap<string, number | undefined>(2);
  map.set('a', 1);
  map.set('b', 2);
  map.set('a', 3);
  map.set('c', 4);
  t.same(['a', 'b', 'c'].map(map.get), [3, undefined, 4]);
  map.delete('a');
  map.set('d', 5);
  t.same(['a', 'c', 'd'].map(map.get), [undefined, 4, 5]);
  map.clear();
  t.same(['c', 'd'].map(map.get), [undefined, undefined]);
});

t.test('as a list of the last so many that were set', async () => {
  const step = fc.tuple(fc.constantFrom('set', 'set', 'set', 'delete'), fc.nat(8), fc.nat(100));
  fc.assert(
    fc.property(fc.nat(5), fc.array(step), (most, steps) => {
      const map = createBoundedMap<number, number>(most);
      let list: (readonly [number, number])[] = [];
      for (const [what, key, value] of steps) {
        list = list.filter(([known]) => known !== key);
        if (what === 'delete') map.delete(key);
        else {
          map.set(key, value);
          list = [...list, [key, value] as const].slice(Math.max(0, list.length + 1 - most));
        }
        const expected = new Map(list);
        for (let asked = 0; asked <= 8; asked += 1) if (map.get(asked) !== expected.get(asked)) return false;
      }
      return true;
    }),
  );
});
