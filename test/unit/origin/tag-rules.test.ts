import fc from 'fast-check';
import t from 'tap';
import { parseRepositoryName, parseTag, sha256DigestOf } from '#oci';
import { judgeFor } from '../../../origin/collection/tag-rules.ts';
import type { TagRecord } from '../../../origin/metadata/collection-port.ts';

const NOW = 1_000_000;
const digest = sha256DigestOf(Buffer.from('x'));
const record = (tag: string, age: number): TagRecord => ({ tag: parseTag(tag), digest, taggedAt: NOW - age });
const gone = (
  name: string,
  rules: { keepLast?: [string, number][]; maxAge?: [string, number][] },
  tags: TagRecord[],
) =>
  judgeFor(
    parseRepositoryName(name),
    {
      keepLast: (rules.keepLast ?? []).map(([pattern, count]) => ({ pattern, count })),
      maxAge: (rules.maxAge ?? []).map(([pattern, ageMs]) => ({ pattern, ageMs })),
    },
    NOW,
  )?.(tags).map(({ tag, reason }) => [tag, reason]);

const three = [record('a', 30), record('b', 10), record('c', 20)];

t.test('a repository without a rule is not judged', async (t) => {
  t.equal(gone('app', { keepLast: [['ci/**', 1]] }, three), undefined);
  t.equal(gone('ci/a/b', { keepLast: [['ci/*', 1]] }, three), undefined, 'one star, one part');
});

t.test('the newest are kept, or the young, or both', async (t) => {
  t.same(gone('ci/a', { keepLast: [['ci/*', 1]] }, three), [
    ['c', 'keep-last'],
    ['a', 'keep-last'],
  ]);
  t.same(gone('ci/a/b', { maxAge: [['ci/**', 15]] }, three), [
    ['c', 'max-age'],
    ['a', 'max-age'],
  ]);
  t.same(gone('app', { keepLast: [['**', 1]], maxAge: [['app', 25]] }, three), [
    ['a', 'keep-last and max-age'],
  ]);
});

t.test('the first rule of a kind counts', async (t) => {
  t.same(
    gone(
      'ci/a',
      {
        keepLast: [
          ['ci/a', 3],
          ['**', 0],
        ],
      },
      three,
    ),
    [],
  );
});

t.test('whatever the tags, N newest stay and nothing young goes', async () => {
  fc.assert(
    fc.property(fc.array(fc.nat(100), { maxLength: 30 }), fc.nat(10), fc.nat(100), (ages, count, age) => {
      const tags = ages.map((each, at) => record(`t${at}`, each));
      const removed = gone('a', { keepLast: [['a', count]], maxAge: [['a', age]] }, tags) ?? [];
      const left = tags.length - removed.length;
      const young = removed.every(
        ([tag]) => (tags.find((each) => each.tag === tag)?.taggedAt ?? 0) < NOW - age,
      );
      return young && left >= Math.min(count, tags.length);
    }),
  );
});
