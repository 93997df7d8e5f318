/**
 * The one database of a program (LevelDB, by `level`). The program opens it and hands it to its rooms,
 * each of which keeps to sublevels of its own.
 */
import { Level } from 'level';

export type Database = Level<string, Uint8Array>;

/**
 * Opens the database in a folder, made when it is missing.
 * @throws Error when another running program has it open
 */
export async function openDatabase(folder: string): Promise<Database> {
  const db: Database = new Level(folder, { valueEncoding: 'view' });
  try {
    await db.open();
  } catch (error) {
    const cause = (error as Error).cause as { code?: string } | undefined;
    if (cause?.code !== 'LEVEL_LOCKED') throw error;
    throw new Error(`${folder} is in use by another running program`, { cause: error });
  }
  return db;
}

/** What `inBatches` needs of an iterator over entries, keys or values. */
interface BatchIterator<T> {
  nextv(size: number): Promise<T[]>;
  close(): Promise<void>;
}

/** Large enough that the number of turns does not count, small enough to be a millisecond's work. */
const BATCH = 1_000;

/**
 * All that an iterator gives, a thousand at a time. Reading 100,000 small records one by one costs
 * twice the time, and all of it in one turn of the event loop.
 */
export async function* inBatches<T>(iterator: BatchIterator<T>): AsyncGenerator<readonly T[]> {
  try {
    for (;;) {
      const batch = await iterator.nextv(BATCH);
      if (batch.length === 0) return;
      yield batch;
    }
  } finally {
    await iterator.close();
  }
}
