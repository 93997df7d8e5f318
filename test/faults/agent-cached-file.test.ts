/** Cached files that are changed, truncated, replaced or taken away behind the agent's back. */
import { open, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { agentHere, originHere, pull, pushBlob, someBytes, until } from '../support/in-process.ts';

const SIZE = 1024 * 1024;

const harms: Readonly<Record<string, (file: string) => Promise<void>>> = {
  async 'one byte changed in place'(file) {
    const handle = await open(file, 'r+');
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, 4711);
    byte.writeUInt8(byte.readUInt8(0) ^ 0x10, 0);
    await handle.write(byte, 0, 1, 4711);
    await handle.close();
  },
  truncated: (file) => truncate(file, SIZE / 2),
  emptied: (file) => truncate(file, 0),
  vanished: (file) => rm(file),
  async 'another file of the same size in its place'(file) {
    await writeFile(`${file}.other`, someBytes(SIZE));
    await rename(`${file}.other`, file);
  },
};

for (const [harm, inflict] of Object.entries(harms)) {
  t.test(`a cached file: ${harm}`, async (t) => {
    const origin = await originHere(t);
    const agent = await agentHere(t, [origin.url]);
    const bytes = someBytes(SIZE);
    const digest = await pushBlob(origin.url, 'team/app', bytes);
    const url = `${agent.url}/v2/team/app/blobs/${digest}`;
    await pull(url);
    await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
    const find = async (): Promise<string[]> =>
      (await readdir(agent.data, { recursive: true }))
        .filter((entry) => path.basename(entry).includes(digest.slice('sha256:'.length)))
        .map((entry) => path.join(agent.data, entry));
    const [file = ''] = await find();
    await inflict(file);
    const harmed = harm === 'vanished' ? undefined : await readFile(file);

    for (const headers of [{}, { range: 'bytes=4000-5000' }]) {
      const answer = await pull(url, headers);
      const expected = 'range' in headers ? bytes.subarray(4000, 5001) : bytes;
      t.ok(answer.bytes.equals(expected), `right bytes, ${JSON.stringify(headers)}`);
    }
    await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
    t.ok((await pull(url)).bytes.equals(bytes));
    t.ok((await readFile(file)).equals(bytes), 'the good file is in its place');
    t.ok((await agent.metric('shoal_fetch_bytes_total')) >= 2 * SIZE, 'fetched again');
    if (harmed && harmed.length > 0) {
      const aside = (await find()).filter((name) => name !== file);
      const kept = await Promise.all(aside.map((name) => readFile(name)));
      t.ok(
        kept.some((content) => content.equals(harmed)),
        'the bad file is set aside',
      );
    }
  });
}
