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
