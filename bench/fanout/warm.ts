/**
 * On a virtual machine memory that nobody used for a while is the host's again, and its first use costs
 * about 2 s of processor time a GiB, which is more than all that an engine does with the bytes. A run
 * would pay for it or not by what ran before: so as many bytes as it will write are written and
 * removed first.
 */
import { open, rm } from 'node:fs/promises';
import path from 'node:path';

const CHUNK_BYTES = 4 * 1024 ** 2;

export async function warmMemory(folder: string, bytes: number): Promise<void> {
  const file = path.join(folder, 'warm');
  const handle = await open(file, 'w');
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES, 1);
    for (let at = 0; at < bytes; at += CHUNK_BYTES) await handle.write(chunk);
  } finally {
    await handle.close();
    await rm(file);
  }
}
