/**
 * Keeps a last bit of the disk free of blob bytes. A database that runs out of space in the middle of
 * a write refuses all later ones; an upload that does is refused, cancelled, and nothing else suffers.
 */
import { statfs } from 'node:fs/promises';
import { OciError } from '#oci';

/** What the database may need until somebody makes room; on a small disk, its twentieth. */
const RESERVE_BYTES = 64 * 1024 * 1024;
const RESERVE_SHARE = 0.05;
/** Bytes that are written between two looks at the disk, over all uploads. */
const STEP_BYTES = 1024 * 1024;

export interface SpaceGuard {
  /** Called before this many bytes are written. @throws OciError NO_SPACE */
  check(bytes: number): Promise<void>;
}

export function createSpaceGuard(folder: string): SpaceGuard {
  let sinceLook = STEP_BYTES;
  return {
    async check(bytes) {
      sinceLook += bytes;
      if (sinceLook < STEP_BYTES) return;
      const { bavail, blocks, bsize } = await statfs(folder);
      const reserve = Math.min(RESERVE_BYTES, blocks * bsize * RESERVE_SHARE);
      if (bavail * bsize < reserve + bytes) throw new OciError('NO_SPACE');
      sinceLook = 0;
    },
  };
}
