import t from 'tap';
import { sha256DigestOf } from '#oci';
import { createRecentBytes } from '../../../origin/registry/recent-bytes.ts';

const content = (text: string) => ({ bytes: Buffer.from(text), digest: sha256DigestOf(Buffer.from(text)) });

t.test('keeps what was asked for last, within its bound', async (t) => {
  const recent = createRecentBytes(10);
  const [a, b, c, large] = [content('aaaa'), content('bbbb'), content('cccc'), content('x'.repeat(11))];
  let loads = 0;
  const get = async ({ bytes, digest }: typeof a): Promise<string> =>
    String(
      await recent.get(digest, async () => {
        loads += 1;
        return bytes;
      }),
    );
  t.same([await get(a), await get(b), await get(a), await get(b)], ['aaaa', 'bbbb', 'aaaa', 'bbbb']);
  t.equal(loads, 2, 'each is loaded once');
  await get(a);
  await get(c);
  t.equal(loads, 3);
  await get(a);
  t.equal(loads, 3, 'what was used last stays');
  await get(b);
  t.equal(loads, 4, 'the other made room');
  t.equal((await get(large)).length, 11);
  await get(large);
  t.equal(loads, 6, 'more than the bound is not kept');
  await get(b);
  t.equal(loads, 6, 'and pushes nothing out');
});

t.test('what is not there, or cannot be loaded, is asked for again', async (t) => {
  const recent = createRecentBytes(10);
  const { digest, bytes } = content('abc');
  t.equal(await recent.get(digest, async () => undefined), undefined);
  await t.rejects(
    recent.get(digest, () => Promise.reject(new Error('EIO'))),
    { message: 'EIO' },
  );
  t.equal(String(await recent.get(digest, async () => bytes)), 'abc');
});
